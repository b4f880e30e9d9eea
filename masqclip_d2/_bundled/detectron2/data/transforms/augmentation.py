"""`Augmentation`: a policy that selects a `Transform` from its input and random numbers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "StandardAugInput",
    "TransformGen",
    "apply_augmentations",
    "apply_transform_gens",
]


class AugInput:
    """Input of augmentations, transformed in place; subclasses may add attributes.

    Attributes:
        image: (H, W) or (H, W, C), uint8 in 0..255, or float in 0..1 or 0..255.
        boxes: (N, 4) float XYXY, or None.
        sem_seg: (H, W) labels, or None.
    """

    def __init__(self, image: np.ndarray, *, boxes: np.ndarray | None = None, sem_seg: np.ndarray | None = None):
        assert isinstance(image, np.ndarray), f"The image must be a numpy array; got {type(image).__name__}."
        assert image.ndim in (2, 3), f"The image must have shape (H, W) or (H, W, C); got {image.shape}."
        self.image: np.ndarray = image
        self.boxes, self.sem_seg = boxes, sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply a transform to image, boxes and labels."""
        self.image = tfm.apply_image(self.image)  # pyright: ignore[reportAttributeAccessIssue]  (fvcore: no return type)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def apply_augmentations(self, augmentations: Sequence[Augmentation | Transform]) -> TransformList:
        """Same as `AugmentationList(augmentations)(self)`."""
        return AugmentationList(augmentations)(self)


StandardAugInput = AugInput  # name in older plugins


class Augmentation:
    """Base class. A subclass defines `get_transform`, whose parameters name the attributes of the input that it uses.

    `get_transform(self, image, sem_seg)` is called with `aug_input.image` and `aug_input.sem_seg`; a single parameter
    gets the image, whatever its name.
    """

    def _init(self, params: dict[str, Any]) -> None:
        """Keep constructor arguments (`locals()`) as attributes."""
        for name, value in params.items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def _rand_range(self, low: float = 1.0, high: float | None = None, size: Any = None) -> Any:
        """Uniform numbers in [low, high), or in [0, low)."""
        if high is None:
            low, high = 0.0, low
        return np.random.uniform(low, high, size)

    def get_transform(self, *args: Any, **kwargs: Any) -> Transform:
        raise NotImplementedError(f"{type(self).__name__} has no get_transform.")

    def __call__(self, aug_input: AugInput) -> Transform:
        """Select a transform, apply it to the input in place, and return it."""
        tfm = self.get_transform(*self._arguments_of(aug_input))
        assert isinstance(tfm, Transform), f"{self}.get_transform must return a Transform; got {tfm!r}."
        aug_input.transform(tfm)
        return tfm

    def _arguments_of(self, aug_input: AugInput) -> list[Any]:
        parameters = list(inspect.signature(self.get_transform).parameters.values())
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            raise TypeError(f"{type(self).__name__}.get_transform must name its parameters; got * or **.")
        names = ["image"] if len(parameters) == 1 else [p.name for p in parameters]
        return [getattr(aug_input, name) for name in names]

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name, p in parameters.items()
            if name != "self" and hasattr(self, name) and getattr(self, name) is not p.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


TransformGen = Augmentation  # name in older plugins


class _FixedTransform(Augmentation):
    """A fixed transform as an augmentation."""

    def __init__(self, tfm: Transform):
        self.tfm = tfm

    def get_transform(self, image: np.ndarray) -> Transform:
        return self.tfm


class AugmentationList(Augmentation):
    """Augmentations or transforms in sequence; each gets the result of the previous ones."""

    def __init__(self, augs: Sequence[Augmentation | Transform]):
        for aug in augs:
            if not isinstance(aug, (Augmentation, Transform)):
                raise TypeError(f"Expected an Augmentation or a Transform; got {aug!r}.")
        self.augs = [_FixedTransform(aug) if isinstance(aug, Transform) else aug for aug in augs]

    def __call__(self, aug_input: AugInput) -> TransformList:
        return TransformList([aug(aug_input) for aug in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(str, self.augs))}]"


@overload
def apply_augmentations(
    augmentations: Sequence[Augmentation | Transform], inputs: np.ndarray
) -> tuple[np.ndarray, TransformList]: ...


@overload
def apply_augmentations(
    augmentations: Sequence[Augmentation | Transform], inputs: AugInput
) -> tuple[AugInput, TransformList]: ...


def apply_augmentations(
    augmentations: Sequence[Augmentation | Transform], inputs: AugInput | np.ndarray
) -> tuple[AugInput | np.ndarray, TransformList]:
    """Augment an image array, or an `AugInput` in place; returns the result and the transforms."""
    if isinstance(inputs, np.ndarray):
        aug_input = AugInput(inputs)
        tfms = aug_input.apply_augmentations(augmentations)
        return aug_input.image, tfms
    return inputs, inputs.apply_augmentations(augmentations)


apply_transform_gens = apply_augmentations  # name in older plugins
