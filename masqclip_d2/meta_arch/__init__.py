"""Registered compositions of proposer, visual encoder, vocabulary and fusion. Importing this registers them."""

from .clip_baseline import ClipBaseline
from .mask_distiller import MaskDistiller
from .mask_proposer import MaskProposer
from .mask_rcnn_proposal_network import MaskRcnnProposalNetwork
from .maskclip import MaskCLIP
from .masqclip import MasQCLIP

__all__ = [
    "ClipBaseline",
    "MasQCLIP",
    "MaskCLIP",
    "MaskDistiller",
    "MaskProposer",
    "MaskRcnnProposalNetwork",
]
