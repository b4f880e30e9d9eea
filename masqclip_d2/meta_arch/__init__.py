"""Meta-architectures: compositions of proposer, visual encoder, vocabulary and fusion. Importing this registers them.

Subclasses of `OpenVocabularySegmenter`, whose `from_config` starts from `open_vocabulary_arguments`, add methods;
those of `ProposalNetwork` train proposers.

May import `losses` and everything below it, neither `data` nor `engine`.
"""

from .build import open_vocabulary_arguments
from .clip_baseline import ClipBaseline
from .mask_distiller import MaskDistiller
from .mask_proposer import MaskProposer
from .mask_rcnn_proposal_network import MaskRcnnProposalNetwork
from .maskclip import MaskCLIP
from .masqclip import MasQCLIP
from .open_vocabulary import OpenVocabularySegmenter
from .proposal_network import ProposalNetwork
from .value_pooling import ValuePooling

__all__ = [
    "ClipBaseline",
    "MasQCLIP",
    "MaskCLIP",
    "MaskDistiller",
    "MaskProposer",
    "MaskRcnnProposalNetwork",
    "OpenVocabularySegmenter",
    "ProposalNetwork",
    "ValuePooling",
    "open_vocabulary_arguments",
]
