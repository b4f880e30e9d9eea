"""The models that a visitor can choose from; they are loaded at first use, and a bounded number stays in memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .refusals import Refusal
from .remembered_texts import RememberedTexts

if TYPE_CHECKING:
    from ..predictor import Predictor

_CACHE_VARIABLE = "MASQCLIP_TEXT_CACHE"


class Models:
    """Predictors by name.

    Args:
        loaders: name -> function that returns the predictor; the first one is the default.
        most: number of models in memory; the least recently used one is dropped.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Predictor]], most: int) -> None:
        self._loaders, self._most = dict(loaders), most
        self._loaded: OrderedDict[str, Predictor] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """The default first."""
        return list(self._loaders)

    def check(self, name: str) -> None:
        """Refuse a model that is none of these."""
        if name not in self._loaders:
            raise Refusal(f"There is no model {name[:100]!r} here; expected one of {', '.join(self._loaders)}.")

    def get(self, name: str) -> Predictor:
        """The model, loaded if it is not in memory."""
        self.check(name)
        predictor = self._loaded.pop(name, None)
        if predictor is None:
            while len(self._loaded) >= self._most:
                self._loaded.popitem(last=False)
            predictor = self._loaders[name]()
            predictor.prepare("thing")  # background prompts, which the cache on disk has
            _remember_texts(predictor)
        self._loaded[name] = predictor
        return predictor


def _remember_texts(predictor: Predictor) -> None:
    tower = getattr(getattr(getattr(predictor, "model", None), "text_classifier", None), "text_encoder", None)
    if tower is not None and not isinstance(tower.encode, RememberedTexts):
        tower.encode = RememberedTexts(tower.encode)


@contextmanager
def no_text_cache() -> Iterator[None]:
    """In this block no text embeddings are written to the disk, which visitors could fill with their categories."""
    before = os.environ.get(_CACHE_VARIABLE)
    os.environ[_CACHE_VARIABLE] = "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CACHE_VARIABLE]
        else:
            os.environ[_CACHE_VARIABLE] = before
