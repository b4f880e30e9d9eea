"""Vocabularies: category names -> prompts -> text embeddings -> class logits.

May import `clip`, `structures` and everything below them, neither `data` nor `engine`.
"""

from .background import BACKGROUND_SOURCES, with_background_prompts
from .dataset_vocabulary import check_vocabulary_option, resolve_vocabulary
from .io import as_vocabulary, is_vocabulary_name, load_vocabulary, save_vocabulary
from .shipped import STYLES, in_style, shipped_names
from .text_cache import text_cache_dir
from .text_classifier import TextClassifier, class_logits
from .vocabulary import ENSEMBLES, Vocabulary

__all__ = [
    "BACKGROUND_SOURCES",
    "ENSEMBLES",
    "STYLES",
    "TextClassifier",
    "Vocabulary",
    "as_vocabulary",
    "check_vocabulary_option",
    "class_logits",
    "in_style",
    "is_vocabulary_name",
    "load_vocabulary",
    "resolve_vocabulary",
    "save_vocabulary",
    "shipped_names",
    "text_cache_dir",
    "with_background_prompts",
]
