"""A training or evaluation run from its command line: configuration, logs, processes."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm

from .._compat import detectron2_backend
from ..checkpoint.checkpointer import remove_unfinished, resumable_checkpoints
from ..config import adapt_to_machine, load_config
from ..config_files import find_config
from ..data.registration import register_aliases, require_registered
from ..meta_arch.required_weights import fetch_required_weights
from ..user_code import import_user_code
from .console import set_up_loggers
from .distributed import Job, run_processes, torchrun_job
from .output_lock import output_lock
from .trainer import Trainer


def launch_training(args: argparse.Namespace) -> None:
    """Check the arguments, then train or evaluate in one process per GPU.

    Args:
        args: config_file, opts, imports, num_gpus, num_machines, machine_rank, dist_url, resume, eval_only, as
            `masqclip train` defines them.

    Raises:
        FileNotFoundError, KeyError, ValueError: see `load_config` and `fetch_required_weights`; there is no config, or
            there are fewer GPUs.
    """
    if not args.config_file:
        raise ValueError("No config. Pass --config-file with a YAML file or the name of a shipped config.")
    job = _job(args)
    if args.num_gpus:
        args.num_gpus = job.num_local
    import_user_code(args.imports)  # may add configuration keys
    cfg = load_config(args.config_file, args.opts)  # refuses a mistyped key before processes are started
    check_num_gpus(args.num_gpus)
    resumes = args.resume and bool(resumable_checkpoints(cfg.OUTPUT_DIR))
    fetch_required_weights(cfg, training=not args.eval_only, resumes=resumes)
    writes = not args.eval_only and job.has_first_process
    with output_lock(cfg.OUTPUT_DIR) if writes else contextlib.nullcontext():
        if writes:
            remove_unfinished(cfg.OUTPUT_DIR)
        try:
            run_processes(run_process, (args,), job)
        except KeyboardInterrupt:
            if writes:
                print(_how_to_continue(cfg), file=sys.stderr)
            raise


def _how_to_continue(cfg: CfgNode) -> str:
    """What an interrupted training has left."""
    checkpoints = resumable_checkpoints(cfg.OUTPUT_DIR)
    if not checkpoints:
        return f"No checkpoint has been written yet (SOLVER.CHECKPOINT_PERIOD {cfg.SOLVER.CHECKPOINT_PERIOD})."
    return f"The last checkpoint is {checkpoints[0]}; the same command with --resume continues from it."


def _job(args: argparse.Namespace) -> Job:
    """The processes that torchrun has started or, without it, those of the arguments."""
    job = torchrun_job(on_cpu=args.num_gpus == 0)
    if job is None:
        dist_url = None if args.dist_url == "auto" else args.dist_url
        return Job(args.num_gpus, args.num_machines, args.machine_rank, dist_url)
    if (args.num_machines, args.machine_rank, args.dist_url) != (1, 0, "auto"):
        raise ValueError(
            "torchrun has started this process and says how many machines there are; leave out --num-machines, "
            "--machine-rank and --dist-url."
        )
    if args.num_gpus not in (0, 1, job.num_local):
        raise ValueError(
            f"--num-gpus is {args.num_gpus}, but torchrun has started {job.num_local} processes on this machine; leave "
            "it out, or pass 0 for the CPU."
        )
    return job


def run_process(args: argparse.Namespace) -> None:
    """Train or evaluate in this process, one of `num_gpus`."""
    import masqclip_d2

    masqclip_d2.register_all()  # a spawned process of the command `masqclip` has not registered anything yet
    cfg = setup(args)
    if args.eval_only:
        Trainer.evaluate_weights(cfg, resume=args.resume)
    else:
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()
    if comm.get_world_size() > 1 and cfg.MODEL.DEVICE == "cpu":
        leave_process_group()


def setup(args: argparse.Namespace) -> CfgNode:
    """Read the config, apply overrides, adapt to the machine, freeze, and set up logging and seeds."""
    import_user_code(args.imports)  # each process has its own registrations
    args.config_file = str(find_config(args.config_file))  # Detectron2 logs and copies the file
    cfg = load_config(args.config_file, args.opts)
    set_up_loggers(cfg.OUTPUT_DIR, comm.get_rank())
    adapt_to_machine(cfg, args.num_gpus)
    register_aliases([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    require_registered([*(() if args.eval_only else cfg.DATASETS.TRAIN), *cfg.DATASETS.TEST])
    cfg.freeze()
    default_setup(cfg, args)
    detectron2_backend()  # logs which Detectron2 is used
    return cfg


def leave_process_group() -> None:
    """End this process with exit code 0 after all processes are done.

    Threads of gloo can abort an interpreter that exits normally ("terminate called without an active exception", seen
    with torch 2.15), which would turn a finished run into a failed one.
    """
    comm.synchronize()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def check_num_gpus(num_gpus: int) -> None:
    """Raise ValueError if there are fewer GPUs than `num_gpus`; without any GPU it counts CPU processes."""
    available = torch.cuda.device_count()
    if num_gpus < 0 or (available and num_gpus > available):
        raise ValueError(f"--num-gpus is {num_gpus}, but this machine has {available}. Use 0 (the CPU) to {available}.")
