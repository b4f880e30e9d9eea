"""Masks of N instances, as bitmaps or as polygons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .boxes import Boxes


def polygons_to_bitmask(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Rasterize the union of polygons, each (x0, y0, x1, y1, ...) in pixels, as COCO does; (height, width) bool."""
    if len(polygons) == 0:
        return np.zeros((height, width), dtype=bool)
    from pycocotools import mask as mask_api

    runs = mask_api.merge(mask_api.frPyObjects([np.asarray(p).tolist() for p in polygons], height, width))
    return mask_api.decode(runs).astype(bool)


class BitMasks:
    """N masks as one bool tensor (N, H, W)."""

    def __init__(self, tensor: Tensor | np.ndarray):
        tensor = torch.as_tensor(tensor).to(torch.bool)
        assert tensor.dim() == 3, f"BitMasks have shape (N, H, W); got {tuple(tensor.shape)}."
        self.tensor = tensor
        self.image_size = tuple(tensor.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> BitMasks:
        return BitMasks(self.tensor.to(*args, **kwargs))

    @staticmethod
    def from_polygon_masks(polygon_masks: PolygonMasks | list[list[np.ndarray]], height: int, width: int) -> BitMasks:
        """Rasterize polygons of N instances to (N, height, width)."""
        masks = torch.zeros(len(polygon_masks), height, width, dtype=torch.bool)
        for mask, polygons in zip(masks, polygon_masks, strict=True):
            mask.copy_(torch.from_numpy(polygons_to_bitmask(polygons, height, width)))
        return BitMasks(masks)

    def nonempty(self) -> Tensor:
        """(N,) bool: the mask has a pixel."""
        return self.tensor.flatten(1).any(dim=1)

    def get_bounding_boxes(self) -> Boxes:
        """Tightest half-open boxes: x1, y1 are one past the last pixel; all 0 for an empty mask."""
        corners = []
        for occupied in (self.tensor.any(dim=1), self.tensor.any(dim=2)):  # columns (N, W), rows (N, H)
            position = torch.arange(occupied.shape[1], device=self.device)
            first = position.where(occupied, occupied.shape[1]).amin(dim=1)
            last = position.where(occupied, -1).amax(dim=1)
            corners.append((first, last + 1))
        (x0, x1), (y0, y1) = corners
        return Boxes(torch.stack((x0, y0, x1, y1), dim=1) * self.nonempty()[:, None])

    @staticmethod
    def cat(bitmasks_list: list[BitMasks]) -> BitMasks:
        assert len(bitmasks_list) > 0 and all(isinstance(masks, BitMasks) for masks in bitmasks_list)
        return BitMasks(torch.cat([masks.tensor for masks in bitmasks_list]))

    def __getitem__(self, item: int | slice | Tensor) -> BitMasks:
        """Masks at an int (kept as one mask), slice, or bool or long tensor."""
        tensor = self.tensor[item]
        return BitMasks(tensor[None] if isinstance(item, int) else tensor)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.tensor

    def __repr__(self) -> str:
        return f"BitMasks(num_instances={len(self)}, image_size={self.image_size})"


class PolygonMasks:
    """N masks, each a union of polygons (x0, y0, x1, y1, ...) in absolute, continuous pixel coordinates."""

    def __init__(self, polygons: Sequence[Sequence[Tensor | np.ndarray]]):
        """`polygons[i]` lists the polygons of instance i; they are kept as flat float64 arrays."""
        if not isinstance(polygons, list):
            raise ValueError(f"Expected a list of lists of polygons; got {type(polygons).__name__}.")
        self.polygons = [_checked_polygons(i, of_instance) for i, of_instance in enumerate(polygons)]

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def to(self, *args: Any, **kwargs: Any) -> PolygonMasks:
        """Polygons stay on the CPU."""
        return self

    def area(self) -> Tensor:
        """(N,) float64, sum of polygon areas in square pixels; overlap within an instance counts twice."""
        areas = [sum(map(_polygon_area, polygons)) for polygons in self.polygons]
        return torch.tensor(areas, dtype=torch.float64)

    def nonempty(self) -> Tensor:
        """(N,) bool: the instance has a polygon."""
        return torch.tensor([len(polygons) > 0 for polygons in self.polygons], dtype=torch.bool)

    def get_bounding_boxes(self) -> Boxes:
        """Tightest boxes; all 0 for an instance without polygons."""
        boxes = torch.zeros(len(self), 4)
        for box, polygons in zip(boxes, self.polygons, strict=True):
            if polygons:
                points = np.concatenate(polygons).reshape(-1, 2)
                box.copy_(torch.from_numpy(np.concatenate((points.min(axis=0), points.max(axis=0)))))
        return Boxes(boxes)

    @staticmethod
    def cat(polymasks_list: list[PolygonMasks]) -> PolygonMasks:
        assert len(polymasks_list) > 0 and all(isinstance(masks, PolygonMasks) for masks in polymasks_list)
        return PolygonMasks([polygons for masks in polymasks_list for polygons in masks.polygons])

    def __getitem__(self, item: int | slice | list[int] | Tensor) -> PolygonMasks:
        """Masks at an int (kept as one mask), slice, list of ints, or bool or long tensor."""
        if isinstance(item, int):
            return PolygonMasks([self.polygons[item]])
        if isinstance(item, slice):
            return PolygonMasks(self.polygons[item])
        if isinstance(item, Tensor):
            item = (item.nonzero().flatten() if item.dtype == torch.bool else item).tolist()
        return PolygonMasks([self.polygons[i] for i in item])

    def __len__(self) -> int:
        return len(self.polygons)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        return iter(self.polygons)

    def __repr__(self) -> str:
        return f"PolygonMasks(num_instances={len(self)})"


def _checked_polygons(index: int, polygons: Sequence[Tensor | np.ndarray]) -> list[np.ndarray]:
    if not isinstance(polygons, list):
        raise ValueError(f"The polygons of instance {index} must be a list; got {type(polygons).__name__}.")
    arrays = [np.asarray(p.cpu() if isinstance(p, Tensor) else p, dtype=np.float64) for p in polygons]
    for array in arrays:
        if array.ndim != 1 or len(array) < 6 or len(array) % 2:
            raise ValueError(
                f"A polygon of instance {index} has shape {array.shape}; expected x, y of at least 3 points in one row."
            )
    return arrays


def _polygon_area(polygon: np.ndarray) -> float:
    x, y = polygon[0::2], polygon[1::2]
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))
