"""Pickling of functions for spawned processes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any


class PicklableWrapper:
    """A callable that is pickled by value, so that spawned workers can use lambdas and functions of notebooks."""

    def __init__(self, obj: Callable):
        while isinstance(obj, PicklableWrapper):
            obj = obj._obj
        self._obj = obj

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._obj(*args, **kwargs)

    def __reduce__(self):
        import cloudpickle

        return _unpickle, (cloudpickle.dumps(self._obj),)


def _unpickle(data: bytes) -> PicklableWrapper:
    return PicklableWrapper(pickle.loads(data))
