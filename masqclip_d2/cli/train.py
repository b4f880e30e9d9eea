"""The command `train_net.py` (installed: `masqclip-train`): trains one stage, or evaluates with --eval-only."""

from __future__ import annotations

import logging
import os
import sys

import torch
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

import masqclip_d2

from ..config import adapt_to_machine, find_config, load_config
from ..data.registration import register_aliases
from ..user_code import add_import_option, import_user_code
from .command import command

_EPILOG = """examples:
  train_net.py --config-file shapes/teacher --num-gpus 0
  train_net.py --config-file configs/shapes/teacher.yaml --num-gpus 8 --resume
  train_net.py --config-file shapes/masqclip --eval-only MODEL.WEIGHTS masqclip://shapes_masqclip
  train_net.py --import my_data.py --config-file shapes/teacher DATASETS.TRAIN "('my_train',)"
"""


def setup(args):
    """Read the config, apply the overrides, adapt to the machine, freeze, and set up logging and seeds."""
    import_user_code(args.imports)  # each process has its own registrations
    args.config_file = str(find_config(args.config_file))  # Detectron2 logs and copies the file
    cfg = load_config(args.config_file, args.opts)
    setup_logger(output=cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="masqclip_d2", abbrev_name="masqclip")
    adapt_to_machine(cfg, args.num_gpus)
    register_aliases([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    cfg.freeze()
    default_setup(cfg, args)
    logging.getLogger("masqclip_d2").info("Detectron2: %s", masqclip_d2.detectron2_backend())
    return cfg


def run(args):
    """What each process does."""
    from ..engine.trainer import Trainer

    cfg = setup(args)
    if args.eval_only:
        Trainer.evaluate_weights(cfg, resume=args.resume)
    else:
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()
    if comm.get_world_size() > 1 and cfg.MODEL.DEVICE == "cpu":
        leave_process_group()


def leave_process_group() -> None:
    """End this worker with exit code 0, once all workers are done.

    Threads of gloo can abort an interpreter that exits by itself ("terminate called without an active exception", seen
    with torch 2.15), which would make a finished run look like a failed one.
    """
    comm.synchronize()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@command
def main(argv: list[str] | None = None) -> None:
    parser = default_argument_parser(_EPILOG)
    add_import_option(parser)
    args = parser.parse_args(argv)
    if not args.config_file:
        raise ValueError("No config. Pass --config-file with a YAML file or the name of a shipped config.")
    load_config(args.config_file, args.opts)  # a typo should stop us here, before processes are started
    check_num_gpus(args.num_gpus)
    import_user_code(args.imports)
    launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url="auto" if args.num_machines == 1 else args.dist_url,
        args=(args,),
    )


def check_num_gpus(num_gpus: int) -> None:
    """Raise ValueError if more GPUs are asked for than there are; without any GPU, the number counts CPU processes."""
    available = torch.cuda.device_count()
    if num_gpus < 0 or (available and num_gpus > available):
        raise ValueError(f"--num-gpus is {num_gpus}, but this machine has {available}. Use 0 (the CPU) to {available}.")


if __name__ == "__main__":
    main()
