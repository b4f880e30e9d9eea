"""Words -> categories -> text embeddings -> class logits."""

from .dataset_vocabulary import check_vocabulary_option, resolve_vocabulary
from .shipped import STYLES, as_vocabulary, in_style, is_vocabulary_name, shipped_names
from .text_cache import text_cache_dir
from .text_classifier import TextClassifier, class_logits
from .vocabulary import ENSEMBLES, Vocabulary

__all__ = [
    "ENSEMBLES",
    "STYLES",
    "TextClassifier",
    "Vocabulary",
    "check_vocabulary_option",
    "resolve_vocabulary",
    "class_logits",
    "as_vocabulary",
    "in_style",
    "is_vocabulary_name",
    "shipped_names",
    "text_cache_dir",
]
