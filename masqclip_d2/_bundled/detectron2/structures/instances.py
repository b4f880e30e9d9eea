"""The instances of one image: parallel fields of equal length."""

from __future__ import annotations

import itertools
from typing import Any

import torch


class Instances:
    """Fields (tensors, lists, Boxes, masks) with one entry per instance of an image.

    `instances.scores = tensor` adds or replaces a field, `instances.scores` reads it. Indexing, `to` and `cat` act on
    all fields.
    """

    def __init__(self, image_size: tuple[int, int], **fields: Any):
        """`image_size` is (height, width) in pixels."""
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in fields.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # Called for missing attributes only; `_fields` itself is missing during unpickling.
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"Cannot find field '{name}' in the given Instances.")
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field; all fields have the same length."""
        others = [field for other, field in self._fields.items() if other != name]
        if others:
            assert len(value) == len(others[0]), (
                f"Field '{name}' has {len(value)} entries, the other fields have {len(others[0])}."
            )
        self._fields[name] = value

    def get(self, name: str) -> Any:
        return self._fields[name]

    def has(self, name: str) -> bool:
        return name in self._fields

    def remove(self, name: str) -> None:
        del self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """Name -> field; not a copy."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> Instances:
        """A copy with `field.to(...)` of each field that has it."""
        moved = {name: f.to(*args, **kwargs) if hasattr(f, "to") else f for name, f in self._fields.items()}
        return Instances(self._image_size, **moved)

    def __getitem__(self, item: int | slice | torch.Tensor) -> Instances:
        if isinstance(item, int):
            if not -len(self) <= item < len(self):
                raise IndexError(f"Instances index {item} is out of range for {len(self)} instances.")
            item = slice(item, None if item == -1 else item + 1)
        return Instances(self._image_size, **{name: field[item] for name, field in self._fields.items()})

    def __len__(self) -> int:
        for field in self._fields.values():
            return len(field)
        raise NotImplementedError("Instances without fields have no length.")

    def __iter__(self):
        raise NotImplementedError("Instances cannot be iterated over; index them, or iterate over a field.")

    @staticmethod
    def cat(instance_lists: list[Instances]) -> Instances:
        """Concatenate instances of one image size with the same fields: tensors, lists, or types with a `cat`."""
        assert len(instance_lists) > 0 and all(isinstance(instances, Instances) for instances in instance_lists)
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        sizes = {tuple(instances.image_size) for instances in instance_lists}
        assert len(sizes) == 1, f"Instances to concatenate have different image sizes: {sorted(sizes)}."
        joined = Instances(first.image_size)
        for name, field in first.get_fields().items():
            joined.set(name, _cat_fields(name, [field, *(other.get(name) for other in instance_lists[1:])]))
        return joined

    def __repr__(self) -> str:
        count = len(self) if self._fields else 0
        fields = ", ".join(f"{name}: {field}" for name, field in self._fields.items())
        return f"Instances(num_instances={count}, image_size={self._image_size}, fields=[{fields}])"


def _cat_fields(name: str, fields: list[Any]) -> Any:
    if isinstance(fields[0], torch.Tensor):
        return torch.cat(fields, dim=0)
    if isinstance(fields[0], list):
        return list(itertools.chain(*fields))
    if hasattr(type(fields[0]), "cat"):
        return type(fields[0]).cat(fields)
    raise ValueError(
        f"Cannot concatenate field '{name}' of type {type(fields[0]).__name__}; expected a tensor, a list or a cat()."
    )
