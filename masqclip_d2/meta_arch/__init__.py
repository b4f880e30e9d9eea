"""Registered compositions of proposer, visual encoder, vocabulary and fusion. Importing this registers them."""

from .clip_baseline import ClipBaseline
from .clip_pretraining import ClipPretraining
from .mask_distiller import MaskDistiller
from .mask_proposer import MaskProposer
from .mask_rcnn_proposal_network import MaskRcnnProposalNetwork
from .maskclip import MaskCLIP
from .masqclip import MasQCLIP

__all__ = [
    "ClipBaseline",
    "ClipPretraining",
    "MasQCLIP",
    "MaskCLIP",
    "MaskDistiller",
    "MaskProposer",
    "MaskRcnnProposalNetwork",
]
