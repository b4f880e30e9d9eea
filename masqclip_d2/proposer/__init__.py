"""Where: class-agnostic mask proposals. Importing this registers `MaskProposalHead` and the backbones of this room."""

from .criterion import SetCriterion
from .ground_truth import GroundTruthProposer
from .head import MaskProposalHead
from .mask_rcnn import MaskRcnnProposer
from .network_proposer import NetworkProposer
from .proposer import MaskFormerProposer
from .tiny_backbone import TinyBackbone
from .torchvision_resnet import TorchvisionResNet

__all__ = [
    "GroundTruthProposer",
    "MaskFormerProposer",
    "MaskProposalHead",
    "MaskRcnnProposer",
    "NetworkProposer",
    "SetCriterion",
    "TinyBackbone",
    "TorchvisionResNet",
]
