"""Words -> categories -> text embeddings -> class logits."""

from .text_classifier import TextClassifier, class_logits
from .text_encoder import TextEncoder
from .vocabulary import Vocabulary

__all__ = ["TextClassifier", "TextEncoder", "Vocabulary", "class_logits"]
