"""Safe reading of pickled arrays: a file may hold numpy arrays and plain containers, and nothing else."""

from __future__ import annotations

import codecs
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np

_numpy_core: Any = getattr(np, "_core", None) or np.core
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # the names before and since numpy 2
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")


def load_numpy_pickle(path: str) -> dict[str, Any]:
    """Read a pickled dict of numpy arrays, numbers, strings and containers of these; Python 2 files as latin1.

    Raises:
        pickle.UnpicklingError: the file holds anything else, or no dict.
    """
    with open(path, "rb") as f:
        content = _NumpyUnpickler(f, encoding="latin1").load()
    if not isinstance(content, dict):
        raise pickle.UnpicklingError(f"{path} holds a {type(content).__name__}; expected a dict of arrays.")
    return content


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in ("_reconstruct", "scalar") and module in _ARRAY_MODULES:
            return getattr(_numpy_core.multiarray, name)
        if name == "_frombuffer" and module in _BUFFER_MODULES:
            return _numpy_core.numeric._frombuffer
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("collections", "OrderedDict"): OrderedDict,
            ("_codecs", "encode"): codecs.encode,  # how protocols 0 to 2 write bytes
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(
                f"The file holds {module}.{name}; only numpy arrays and plain containers are read from a pickle."
            )
        return allowed[module, name]
