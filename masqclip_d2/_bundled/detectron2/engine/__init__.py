"""Training loops, hooks, process launch, command line, and the default trainer and predictor."""

from . import hooks
from ._setup import default_argument_parser, default_setup
from .defaults import DefaultPredictor, DefaultTrainer, create_ddp_model, default_writers
from .launch import launch
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase

__all__ = [
    "AMPTrainer",
    "DefaultPredictor",
    "DefaultTrainer",
    "HookBase",
    "SimpleTrainer",
    "TrainerBase",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "hooks",
    "launch",
]
