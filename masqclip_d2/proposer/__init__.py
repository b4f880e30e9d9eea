"""Class-agnostic mask proposals. Importing this package registers the proposers, heads and backbones in it."""

from .ground_truth import GroundTruthProposer
from .mask2former.head import MaskProposalHead
from .mask2former.proposer import Mask2FormerProposer
from .mask_rcnn.proposer import MaskRcnnProposer
from .mask_rcnn.torchvision_resnet import TorchvisionResNet
from .network_proposer import NetworkProposer

__all__ = [
    "GroundTruthProposer",
    "Mask2FormerProposer",
    "MaskProposalHead",
    "MaskRcnnProposer",
    "NetworkProposer",
    "TorchvisionResNet",
]
