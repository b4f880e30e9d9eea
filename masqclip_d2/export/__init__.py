"""Export of a model for programs without this package: ONNX files and torch.export programs (docs/export.md).

May import the predictor and everything below it, neither `batch` nor the command line.
"""

from .exporting import FORMATS, check_settings, export_model
from .parts import PART_NAMES
from .weight_storage import WEIGHT_DTYPES

__all__ = ["FORMATS", "PART_NAMES", "WEIGHT_DTYPES", "check_settings", "export_model"]
