"""masqclip_d2: open-vocabulary segmentation with MaskCLIP and MasQCLIP, as a Detectron2 plugin.

Importing this decides which Detectron2 answers `import detectron2` and registers our backbones, heads,
meta-architectures and datasets with it.
"""

from ._compat import detectron2_backend, install

install()  # before anything that says `import detectron2`

__version__ = "0.1.0"

from . import meta_arch, proposer, shapes  # noqa: E402  (registers on import)
from .config import add_masqclip_config, load_config  # noqa: E402
from .data import registration  # noqa: E402  (registers on import)
from .data.registration import register_instances, register_panoptic, register_semantic  # noqa: E402
from .predictor import Predictor  # noqa: E402
from .segmentation import Segment, Segmentation  # noqa: E402
from .structures import MaskProposals  # noqa: E402
from .vocabulary import Vocabulary, load_vocabulary, save_vocabulary  # noqa: E402

__all__ = [
    "MaskProposals",
    "Predictor",
    "Segment",
    "Segmentation",
    "Vocabulary",
    "add_masqclip_config",
    "detectron2_backend",
    "load_config",
    "load_vocabulary",
    "meta_arch",
    "proposer",
    "register_instances",
    "register_panoptic",
    "register_semantic",
    "registration",
    "save_vocabulary",
    "shapes",
]
