"""Catalogs by dataset name: the function that loads a dataset, and its metadata."""

from __future__ import annotations

import types
from collections import UserDict
from collections.abc import Callable
from typing import Any


class _DatasetCatalog(UserDict):
    """Name -> function without arguments that returns the same dataset dicts on each call."""

    def register(self, name: str, func: Callable[[], list[dict]]) -> None:
        assert callable(func), f"A dataset is registered as a function that loads it; got {func!r} for '{name}'."
        assert name not in self, f"Dataset '{name}' is already registered."
        self[name] = func

    def get(self, name: str) -> list[dict]:  # pyright: ignore[reportIncompatibleMethodOverride]  (Detectron2's)
        """Load a dataset by calling its function; nothing is cached."""
        if name not in self:
            raise KeyError(f"Dataset '{name}' is not registered. Available: {', '.join(self)}")
        return self[name]()

    def list(self) -> list[str]:
        return list(self)

    def remove(self, name: str) -> None:
        self.pop(name)


class Metadata(types.SimpleNamespace):
    """Metadata of a dataset as free attributes; an attribute cannot change its value."""

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        known = ", ".join(vars(self)) or "none"
        raise AttributeError(f"Dataset '{self.name}' has no metadata '{key}'. Known: {known}.")

    def __setattr__(self, key: str, value: Any) -> None:
        if key in vars(self):
            old = vars(self)[key]
            assert old == value, (
                f"Metadata '{key}' of dataset '{self.name}' cannot change its value: it is {old!r}, got {value!r}."
            )
        else:
            super().__setattr__(key, value)

    def as_dict(self) -> dict[str, Any]:
        """A shallow copy as a dict."""
        return dict(vars(self))

    def set(self, **kwargs: Any) -> Metadata:
        """Set several attributes; returns self."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)


class _MetadataCatalog(UserDict):
    """Name -> the only `Metadata` of that name, created on first access."""

    def get(self, name: str) -> Metadata:  # pyright: ignore[reportIncompatibleMethodOverride]  (Detectron2's)
        assert name, "Metadata belong to a dataset name; got an empty one."
        if name not in self:
            self[name] = Metadata(name=name)
        return self[name]

    def list(self) -> list[str]:
        return list(self)

    def remove(self, name: str) -> None:
        self.pop(name)


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
