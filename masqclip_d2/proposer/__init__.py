"""Where: class-agnostic mask proposals. Importing this registers `MaskProposalHead` and `TinyBackbone`."""

from .criterion import SetCriterion
from .head import MaskProposalHead
from .proposer import MaskFormerProposer
from .tiny_backbone import TinyBackbone

__all__ = ["MaskFormerProposer", "MaskProposalHead", "SetCriterion", "TinyBackbone"]
