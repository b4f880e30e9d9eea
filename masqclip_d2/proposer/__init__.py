"""Class-agnostic mask proposals. Importing this package registers its proposers, heads and backbones.

May import `vocabulary` and everything below it, neither `data` nor `engine`.
"""

from .eomt import EomtProposer
from .from_files import FileProposer
from .ground_truth import GroundTruthProposer
from .mask2former.head import MaskProposalHead
from .mask2former.proposer import Mask2FormerProposer
from .mask2former.swin import TimmSwinTransformer
from .mask_files import save_masks
from .mask_rcnn.proposer import MaskRcnnProposer
from .mask_rcnn.torchvision_resnet import TorchvisionResNet
from .network_proposer import NetworkProposer
from .registry import PROPOSER_REGISTRY, Proposer, build_proposer, proposer_class

__all__ = [
    "PROPOSER_REGISTRY",
    "EomtProposer",
    "FileProposer",
    "GroundTruthProposer",
    "Mask2FormerProposer",
    "MaskProposalHead",
    "MaskRcnnProposer",
    "NetworkProposer",
    "Proposer",
    "TimmSwinTransformer",
    "TorchvisionResNet",
    "build_proposer",
    "proposer_class",
    "save_masks",
]
