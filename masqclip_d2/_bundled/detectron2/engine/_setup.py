"""Command line arguments and setup of a run."""

from __future__ import annotations

import argparse
import os

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

# Ports for private use (RFC 6335); a different one per user of a machine.
_FIRST_PRIVATE_PORT, _NUM_PRIVATE_PORTS = 49152, 16384


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Parser of the standard flags: config, resume, evaluation only, processes; then KEY VALUE overrides."""
    parser = argparse.ArgumentParser(epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="evaluate without training")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes per machine, one GPU each")
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines")
    parser.add_argument("--machine-rank", type=int, default=0, help="index of this machine, from 0")
    user_id = os.getuid() if hasattr(os, "getuid") else 0
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{_FIRST_PRIVATE_PORT + user_id % _NUM_PRIVATE_PORTS}",
        help="address of machine 0 for all processes; 'auto' finds a free port on a single machine",
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, default=[], help="config overrides: KEY VALUE KEY VALUE ..., after all flags"
    )
    return parser


def default_setup(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Create OUTPUT_DIR, set up logging, save the config (`config.yaml`) and seed all random generators.

    Args:
        args: its `config_file` and `eval_only` are used if present.
    """
    rank = comm.get_rank()
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        PathManager.mkdirs(cfg.OUTPUT_DIR)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore")
    logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    logger.info("Rank of this process: %d of %d", rank, comm.get_world_size())
    logger.info("Environment:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    config_file = getattr(args, "config_file", "")
    if config_file:
        with PathManager.open(config_file) as f:
            logger.info("Contents of %s:\n%s", config_file, f.read())
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        logger.info("Running with the config:\n%s", cfg.dump())
        path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
        with PathManager.open(path, "w") as f:
            f.write(cfg.dump())
        logger.info("Full config saved to %s", path)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if cfg.FLOAT32_PRECISION:
        torch.set_float32_matmul_precision(cfg.FLOAT32_PRECISION)
    # cuDNN's search costs time per input size, and test images have many sizes.
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
