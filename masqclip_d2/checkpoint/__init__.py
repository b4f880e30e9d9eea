"""Reading every weight format safely, with every name accounted for."""

from .accounting import load_accounted
from .checkpointer import AccountingCheckpointer
from .reading import local_weights_path, read_checkpoint

__all__ = ["AccountingCheckpointer", "load_accounted", "local_weights_path", "read_checkpoint"]
