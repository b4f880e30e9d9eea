"""Where: class-agnostic mask proposals. Importing this registers `MaskProposalHead` and `TinyBackbone`."""

from .criterion import SetCriterion
from .ground_truth import GroundTruthProposer
from .head import MaskProposalHead
from .proposer import MaskFormerProposer
from .tiny_backbone import TinyBackbone

__all__ = ["GroundTruthProposer", "MaskFormerProposer", "MaskProposalHead", "SetCriterion", "TinyBackbone"]
