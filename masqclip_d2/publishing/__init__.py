"""Models that others can load: a folder with configuration, weights and card, also on the Hugging Face Hub.

May import `engine` and everything below it, not the predictor.
"""

from .model_card import model_card
from .model_folder import find_model_folder, is_model_folder, write_model_folder
from .publishable import Publishable
from .upload import upload_model_folder

__all__ = [
    "Publishable",
    "find_model_folder",
    "is_model_folder",
    "model_card",
    "upload_model_folder",
    "write_model_folder",
]
