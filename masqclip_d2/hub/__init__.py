"""Files from elsewhere: one cache, sources and mirrors, downloads that resume and are checked.

May import `config`, `categories` and everything below them, no Detectron2.
"""

from .http import PlaceError
from .places import PREFIXES, Place, cache_dir, is_offline, is_remote, place_of, user_cache
from .records import sha256_of
from .transfer import format_size
from .weight_file import WeightFile

__all__ = [
    "PREFIXES",
    "Place",
    "PlaceError",
    "WeightFile",
    "cache_dir",
    "format_size",
    "is_offline",
    "is_remote",
    "place_of",
    "sha256_of",
    "user_cache",
]
