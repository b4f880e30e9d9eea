"""Ground-truth masks as proposals (MaskCLIP, Sec. 5.1 and Table 7): measures the classification alone."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import configurable

from ..structures import MaskProposals, annotated_masks
from .registry import PROPOSER_REGISTRY, Proposer


@PROPOSER_REGISTRY.register()
class GroundTruthProposer(Proposer):
    """The annotated masks of an image, in their order, with object score 1."""

    needs_ground_truth = True
    supports_resized_images = False

    @configurable
    def __init__(self) -> None:
        super().__init__()

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {}

    def propose(self, batched_inputs: Sequence[dict]) -> list[MaskProposals]:
        """See `Proposer.propose`.

        Args:
            batched_inputs: per image "image" (3, H, W) and "instances" with `gt_masks` (BitMasks or (N, H, W) bool).

        Raises:
            ValueError: an image comes without its annotation.
        """
        return [annotated_proposals(record).to(self.device) for record in batched_inputs]


def annotated_proposals(record: dict) -> MaskProposals:
    """The annotated masks of one record as proposals; ValueError if it has no annotation."""
    if "instances" not in record:
        raise ValueError(
            f"Ground-truth proposals need the annotation of {record.get('file_name', 'the image')}, but its record "
            "has no 'instances'. Use a panoptic or instance dataset with a mapper of this package."
        )
    return MaskProposals.from_binary_masks(annotated_masks(record["instances"], record["image"].shape[-2:]))
