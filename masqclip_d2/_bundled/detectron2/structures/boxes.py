"""Axis-aligned boxes (x0, y0, x1, y1) in absolute, continuous pixel coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import torch

_Box = TypeVar("_Box", list, tuple, np.ndarray, torch.Tensor)


class BoxMode(IntEnum):
    """Format of a box; an IntEnum, since dataset files store it as 0 or 1."""

    XYXY_ABS = 0  # corners in pixels
    XYWH_ABS = 1  # top left corner and size in pixels

    @staticmethod
    def convert(box: _Box, from_mode: BoxMode, to_mode: BoxMode) -> _Box:
        """Convert one box (list or tuple of 4) or boxes ((..., 4) array or tensor); returns the type it got.

        Equal modes return the same object; otherwise the input is not changed.
        """
        from_mode, to_mode = BoxMode(from_mode), BoxMode(to_mode)
        if from_mode == to_mode:
            return box
        sign = 1 if from_mode == BoxMode.XYWH_ABS else -1
        if isinstance(box, (list, tuple)):
            assert len(box) == 4, f"A box has 4 values; got {len(box)}."
            x0, y0, x1, y1 = box
            return type(box)((x0, y0, x1 + sign * x0, y1 + sign * y0))
        assert box.shape[-1] == 4, f"Boxes have shape (..., 4); got {tuple(box.shape)}."
        converted = box.clone() if isinstance(box, torch.Tensor) else box.copy()
        converted[..., 2:] += sign * converted[..., :2]
        return converted  # pyright: ignore[reportReturnType]  (indexing widens the type)


class Boxes:
    """N boxes as one float32 tensor (N, 4), XYXY."""

    def __init__(self, tensor: torch.Tensor | np.ndarray | Sequence):
        tensor = torch.as_tensor(tensor, dtype=torch.float32)
        if tensor.numel() == 0:
            tensor = tensor.reshape(-1, 4)
        assert tensor.dim() == 2 and tensor.shape[1] == 4, f"Boxes have shape (N, 4); got {tuple(tensor.shape)}."
        self.tensor = tensor

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def clone(self) -> Boxes:
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device | str) -> Boxes:
        return Boxes(self.tensor.to(device))

    def area(self) -> torch.Tensor:
        """(N,) areas in square pixels."""
        sizes = self.tensor[:, 2:] - self.tensor[:, :2]
        return sizes[:, 0] * sizes[:, 1]

    def clip(self, box_size: tuple[int, int]) -> None:
        """Move corners into an image of `box_size` = (height, width), in place."""
        assert torch.isfinite(self.tensor).all(), "Box tensor contains infinite or NaN values."
        height, width = box_size
        x = self.tensor[:, 0::2].clamp(min=0, max=width)
        y = self.tensor[:, 1::2].clamp(min=0, max=height)
        self.tensor = torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """(N,) bool: both sides are longer than `threshold` pixels."""
        return ((self.tensor[:, 2:] - self.tensor[:, :2]) > threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> torch.Tensor:
        """(N,) bool: the box exceeds an image of (height, width) by less than `boundary_threshold` pixels."""
        height, width = box_size
        far_corner = self.tensor.new_tensor([width, height]) + boundary_threshold
        return torch.cat((self.tensor[:, :2] >= -boundary_threshold, self.tensor[:, 2:] < far_corner), dim=1).all(dim=1)

    def get_centers(self) -> torch.Tensor:
        """(N, 2) centers (x, y)."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Scale all coordinates, in place."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    @classmethod
    def cat(cls, boxes_list: list[Boxes]) -> Boxes:
        """Concatenate; an empty list results in no boxes."""
        assert isinstance(boxes_list, (list, tuple)) and all(isinstance(boxes, Boxes) for boxes in boxes_list)
        return cls(torch.cat([boxes.tensor for boxes in boxes_list]) if boxes_list else torch.empty(0))

    def __getitem__(self, item: Any) -> Boxes:
        """Boxes at an int (kept as one box), slice, or bool or long tensor; shares memory where the tensor does."""
        tensor = self.tensor[item].reshape(1, -1) if isinstance(item, int) else self.tensor[item]
        assert tensor.dim() == 2, f"Indexing Boxes with {item} does not result in (N, 4)."
        return Boxes(tensor)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from self.tensor

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) intersection over union; 0 where boxes do not overlap, also if both are empty."""
    top_left = torch.max(boxes1.tensor[:, None, :2], boxes2.tensor[:, :2])
    bottom_right = torch.min(boxes1.tensor[:, None, 2:], boxes2.tensor[:, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=2)  # (N, M)
    union = boxes1.area()[:, None] + boxes2.area() - intersection
    return torch.where(intersection > 0, intersection / union, intersection.new_zeros(()))
