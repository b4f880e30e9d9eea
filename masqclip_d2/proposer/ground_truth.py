"""Ground-truth masks as proposals (MaskCLIP, Sec. 5.1 and Table 7): what the classification alone is worth."""

from __future__ import annotations

from torch import nn

from ..structures import MaskProposals, annotated_masks


class GroundTruthProposer(nn.Module):
    """Hands the annotated masks of an image on, in their order, with object score 1."""

    def propose(self, batched_inputs: list[dict]) -> list[MaskProposals]:
        """See `NetworkProposer.propose`.

        Args:
            batched_inputs: per image "image" (3, H, W) and "instances" with `gt_masks` (BitMasks or (N, H, W) bool).

        Raises:
            ValueError: an image comes without its annotation.
        """
        return [self._of_image(record) for record in batched_inputs]

    def _of_image(self, record: dict) -> MaskProposals:
        if "instances" not in record:
            raise ValueError(
                f"Ground-truth proposals need the annotation of {record.get('file_name', 'the image')}, which the data "
                "loader did not give. Use a panoptic or instance dataset with the mapper of this package."
            )
        return MaskProposals.from_binary_masks(annotated_masks(record["instances"], record["image"].shape[-2:]))
