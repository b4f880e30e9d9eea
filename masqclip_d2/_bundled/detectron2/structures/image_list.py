"""Images of different sizes in one padded tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class ImageList:
    """B images in one tensor, each at the top left of its padded area.

    Attributes:
        tensor: (B, ..., H, W).
        image_sizes: per image (height, width) without padding.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]):
        self.tensor = tensor
        self.image_sizes = [(int(height), int(width)) for height, width in image_sizes]

    @staticmethod
    def from_tensors(
        tensors: Sequence[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: Mapping[str, int] | None = None,
    ) -> ImageList:
        """Pad images on the right and at the bottom to their largest height and width.

        Args:
            tensors: images (..., Hi, Wi); only the last two sizes may differ.
            size_divisibility: the padded sizes are rounded up to a multiple of this; 0 and 1 have no effect.
            pad_value: value of padded pixels.
            padding_constraints: constraints of a backbone: "square_size" pads to that size, "size_divisibility"
                overrides the argument.
        """
        assert len(tensors) > 0, "An ImageList needs at least one image."
        assert isinstance(tensors, (list, tuple)) and all(isinstance(image, Tensor) for image in tensors), (
            f"Expected a list or tuple of tensors; got {type(tensors).__name__}."
        )
        leading = {tuple(image.shape[:-2]) for image in tensors}
        assert len(leading) == 1, f"Images disagree in their leading sizes: {sorted(leading)}."
        constraints = padding_constraints or {}
        multiple = max(constraints.get("size_divisibility", size_divisibility), 1)
        image_sizes = [(image.shape[-2], image.shape[-1]) for image in tensors]
        square = constraints.get("square_size", 0)
        largest = (square, square) if square > 0 else tuple(map(max, zip(*image_sizes, strict=True)))
        height, width = (-(-side // multiple) * multiple for side in largest)

        batch = tensors[0].new_full((len(tensors), *tensors[0].shape[:-2], height, width), pad_value)
        for frame, image in zip(batch, tensors, strict=True):
            frame[..., : image.shape[-2], : image.shape[-1]].copy_(image)
        return ImageList(batch, image_sizes)

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> ImageList:
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, index: int) -> Tensor:
        """Image `index` without its padding, a view."""
        height, width = self.image_sizes[index]
        return self.tensor[index, ..., :height, :width]
