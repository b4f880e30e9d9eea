"""The registry of proposers, and the one that a configuration chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from ..coco_masks import ScoredMasks
from ..structures import MaskProposals
from ..user_code import unknown_name

PROPOSER_REGISTRY = Registry("PROPOSER")
PROPOSER_REGISTRY.__doc__ = "Subclasses of `Proposer`, built as `cls(cfg)`; MODEL.MASQCLIP.PROPOSER.SOURCE names one."

SHORT_NAMES = {
    "mask2former": "Mask2FormerProposer",
    "mask_rcnn": "MaskRcnnProposer",
    "ground_truth": "GroundTruthProposer",
    "eomt": "EomtProposer",
    "from_files": "FileProposer",
}
"""Values of MODEL.MASQCLIP.PROPOSER.SOURCE besides the registered class names."""


class Proposer(nn.Module):
    """Base class of proposers: records of images in, class-agnostic masks out. Built as `cls(cfg)`."""

    needs_ground_truth: ClassVar[bool] = False
    """The proposals are the annotated masks of a record's `instances`, in their order, so mappers add these at test."""
    supports_resized_images: ClassVar[bool] = True
    """`propose` works on the resized and mirrored copies of an image in test-time augmentation."""
    sized_by_weights: ClassVar[tuple[str, ...]] = ()
    """Regular expressions for parameters that take their first size from the weights: classes, queries."""
    network_names: ClassVar[tuple[str, ...]] = ()
    """Child modules that can be compiled and recorded, see the package `acceleration`."""
    has_own_weights: ClassVar[bool] = False
    """Building it loads its weights, so a checkpoint of a model that it is part of may lack them."""

    _device_marker: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_device_marker", torch.empty(0), persistent=False)

    @classmethod
    def stored_masks(cls, cfg) -> Callable[[dict, tuple[int, int]], ScoredMasks] | None:
        """Function (record, image_hw) -> masks of the image on disk, if proposals are read instead of predicted.

        Mappers call it in training and apply their augmentations to the result, which becomes `proposal_masks`
        (N, H, W) bool and `proposal_scores` (N,) of the record.
        """
        return None

    @classmethod
    def own_weights(cls, cfg) -> dict[str, list[str]]:
        """{key of the configuration: sources of the files that it names}, for weights that building it loads."""
        return {}

    @property
    def device(self) -> torch.device:
        """Device of the proposals."""
        return self._device_marker.device

    def propose(self, batched_inputs: Sequence[dict]) -> list[MaskProposals]:
        """Masks of each image.

        Args:
            batched_inputs: per image "image" (3, H_i, W_i) RGB in 0..255, uint8 or float, and the other keys of the
                mapper's record ("file_name", "image_id", "height", "width" where known).

        Returns:
            Per image its Q proposals, on `device`; Q may be 0 and differ between images.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method propose(batched_inputs).")


def proposer_class(cfg) -> type[Proposer]:
    """The class that MODEL.MASQCLIP.PROPOSER.SOURCE names.

    Raises:
        ValueError: the name is unknown, or what is registered under it is no `Proposer`.
    """
    source: str = cfg.MODEL.MASQCLIP.PROPOSER.SOURCE
    name = SHORT_NAMES.get(source, source)
    if name not in PROPOSER_REGISTRY:
        others = [name for name, _ in PROPOSER_REGISTRY if name not in SHORT_NAMES.values()]
        raise unknown_name("MODEL.MASQCLIP.PROPOSER.SOURCE", source, [*SHORT_NAMES, *others])
    found = PROPOSER_REGISTRY.get(name)
    if not (isinstance(found, type) and issubclass(found, Proposer)):
        raise ValueError(
            f"MODEL.MASQCLIP.PROPOSER.SOURCE is {source!r}, which is registered but not a subclass of "
            "masqclip_d2.proposer.Proposer; derive it from that class."
        )
    return found


def build_proposer(cfg) -> Proposer:
    """The proposer that MODEL.MASQCLIP.PROPOSER.SOURCE names; frozen, in eval mode. Errors as in `proposer_class`."""
    build: Any = proposer_class(cfg)
    return build(cfg).requires_grad_(False).eval()
