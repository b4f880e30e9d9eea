"""Reading every weight format safely, with every name accounted for; writing safetensors."""

from .accounting import account, account_alone, load_accounted
from .checkpointer import AccountingCheckpointer
from .reading import local_weights_path, read_checkpoint
from .writing import write_safetensors

__all__ = [
    "AccountingCheckpointer",
    "account",
    "account_alone",
    "load_accounted",
    "local_weights_path",
    "read_checkpoint",
    "write_safetensors",
]
