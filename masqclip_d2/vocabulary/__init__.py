"""Words -> categories -> text embeddings -> class logits."""

from .dataset_vocabulary import check_choice, choose_vocabulary
from .shipped import FORMS, given_vocabulary, in_form, is_vocabulary_name, shipped_names
from .text_cache import text_cache_dir
from .text_classifier import TextClassifier, class_logits
from .vocabulary import ENSEMBLES, Vocabulary

__all__ = [
    "ENSEMBLES",
    "FORMS",
    "TextClassifier",
    "Vocabulary",
    "check_choice",
    "choose_vocabulary",
    "class_logits",
    "given_vocabulary",
    "in_form",
    "is_vocabulary_name",
    "shipped_names",
    "text_cache_dir",
]
