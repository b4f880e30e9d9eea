"""Optional methods of a model that the trainer uses; a meta-architecture has them without inheriting anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from detectron2.engine import HookBase
from torch import Tensor

from ..vocabulary import Vocabulary


@runtime_checkable
class HasVocabulary(Protocol):
    """An open-vocabulary model; it may also have an attribute `vocabulary`, the current one or None."""

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Set the categories of the next images."""
        ...


@runtime_checkable
class ChecksVocabulary(Protocol):
    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Raise ValueError if the model cannot use a vocabulary, such as a prompt that is too long."""
        ...


@runtime_checkable
class HasDetectionLimit(Protocol):
    def set_detections_per_image(self, number: int | None) -> None:
        """Set the number of detections per image that the protocol of a test set requires; None: TEST's own."""
        ...


@runtime_checkable
class BuildsHooks(Protocol):
    def build_hooks(self, cfg: Any) -> list[HookBase]:
        """Additional hooks of the training of this model."""
        ...


@runtime_checkable
class PredictsSemanticViews(Protocol):
    """A model with test-time augmentation.

    It may also have an attribute `supports_test_time_augmentation`: True, or the reason why not.
    """

    def semantic_view(self, image: Tensor, mirrored: bool) -> Any:
        """Prediction for one view of an image, of any type.

        Args:
            image: (3, h, w) RGB 0..255.
            mirrored: flip the image left to right before the prediction.
        """
        ...

    def semantic_predictions(self, views: Sequence[Any], output_hw: tuple[int, int]) -> dict[str, Tensor]:
        """Semantic predictions, such as "sem_seg_labels" (height, width), from all views; not mirrored."""
        ...
