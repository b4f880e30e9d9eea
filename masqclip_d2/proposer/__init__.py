"""Class-agnostic mask proposals. Importing this package registers its proposers, heads and backbones."""

from .ground_truth import GroundTruthProposer
from .mask2former.head import MaskProposalHead
from .mask2former.proposer import Mask2FormerProposer
from .mask_rcnn.proposer import MaskRcnnProposer
from .mask_rcnn.torchvision_resnet import TorchvisionResNet
from .network_proposer import NetworkProposer
from .registry import PROPOSER_REGISTRY, Proposer, build_proposer, proposer_class

__all__ = [
    "PROPOSER_REGISTRY",
    "GroundTruthProposer",
    "Mask2FormerProposer",
    "MaskProposalHead",
    "MaskRcnnProposer",
    "NetworkProposer",
    "Proposer",
    "TorchvisionResNet",
    "build_proposer",
    "proposer_class",
]
