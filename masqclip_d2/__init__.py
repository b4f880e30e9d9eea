"""masqclip_d2: open-vocabulary segmentation with MaskCLIP and MasQCLIP, as a Detectron2 plugin."""

from ._compat import detectron2_backend, install

install()  # before anything that says `import detectron2`

__version__ = "0.1.0"
__all__ = ["detectron2_backend"]
