"""Text classifier: category names -> text embeddings; cosine similarity to them -> class logits.

Shape shorthand: K categories, N background prompts, C columns of class logits (categories, background prompts, extra
class), T rows of text embeddings, E embedding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip.text_tower import TextTower
from . import text_cache
from .background import BACKGROUND_SOURCES, background_pool
from .prompts import TEMPLATES
from .vocabulary import ENSEMBLES, Vocabulary, near_match

# Vocabularies whose embeddings are kept in memory; an evaluation run has a few datasets.
_CACHE_SIZE = 32


def class_logits(embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Return cosine similarities times `logit_scale`.

    Args:
        embeddings: (..., E) float of any length; a row must not be zero.
        text_embeddings: (T, E) unit rows.
        logit_scale: 1 / temperature; 100 in MaskCLIP and MasQCLIP.

    Returns:
        (..., T) float.
    """
    return logit_scale * F.normalize(embeddings, dim=-1, eps=0.0) @ text_embeddings.to(embeddings.dtype).T


class TextClassifier(nn.Module):
    """Class logits for any vocabulary.

    Args:
        text_encoder: CLIP's text tower; receives no gradients from here.
        logit_scale: 1 / temperature, the factor of cosine similarities: `ClipModel.logit_scale`, or 100 as in MaskCLIP
            (temperature 0.01) and MasQCLIP.
        templates: name of a set of `prompts.TEMPLATES`. "name": the bare category name, as in both methods.
        ensemble: "first": a category's name alone (MaskCLIP); "mean": all its synonyms (MasQCLIP); "max": the synonym
            with the largest logit.
        background_templates: name of a set for background prompts; "": that of the categories.

    `templates` and `ensemble` are the defaults for vocabularies that have none.

    The embeddings of a row's prompts are averaged and the mean is normalized. A row has the prompts of a category's
    name ("first"), of all its synonyms ("mean"), or of one of its synonyms ("max"). Without templates the averaged
    embeddings are unnormalized, as in MasQCLIP; with templates each is normalized first, as in CLIP's prompt ensembles.

    Embeddings of many prompts are cached on disk (`text_cache`), unless the text tower is trained.

    Raises:
        ValueError: unknown set of templates or unknown ensemble.
    """

    logit_scale: Tensor

    def __init__(
        self,
        text_encoder: TextTower,
        logit_scale: Tensor | float,
        templates: str = "name",
        ensemble: str = "first",
        background_templates: str = "",
    ) -> None:
        super().__init__()
        for name in (templates, background_templates or templates):
            if name not in TEMPLATES:
                raise ValueError(
                    f"No prompt templates named {name!r}; known: {', '.join(TEMPLATES)}.{near_match(name, TEMPLATES)}"
                )
        if ensemble not in ENSEMBLES:
            raise ValueError(f"ensemble must be one of {', '.join(ENSEMBLES)}; got {ensemble!r}.")
        self.text_encoder = text_encoder
        scale = torch.as_tensor(logit_scale, dtype=torch.float32).detach().clone()
        self.register_buffer("logit_scale", scale)  # in checkpoints, as it belongs to the text tower
        self.templates = templates
        self.ensemble = ensemble
        self.background_templates = background_templates
        self._cache: OrderedDict[tuple, tuple[Tensor, Tensor | None]] = OrderedDict()
        self._digest: tuple[tuple, str] | None = None

    def __getstate__(self) -> dict:
        """Copies and pickles start with an empty cache, whose keys are addresses of this module's weights."""
        return {**self.__dict__, "_cache": OrderedDict(), "_digest": None}

    def train(self, mode: bool = True) -> TextClassifier:
        """Like `nn.Module.train`, but a frozen text tower stays in eval mode."""
        super().train(mode)
        tower: Any = self.text_encoder
        if not any(parameter.requires_grad for parameter in tower.parameters()):
            tower.eval()
        return self

    @property
    def embedding_dim(self) -> int:
        return self.text_encoder.output_dim

    def text_embeddings(self, vocabulary: Vocabulary, extra_class: str | None = None) -> Tensor:
        """Return text embeddings; computed once for equal prompts and weights.

        Args:
            vocabulary: K categories and N background prompts.
            extra_class: prompt of one more class at the end, such as "background" (MasQCLIP) or "other" (MaskCLIP).

        Returns:
            (T, E) float unit rows on the device of the text encoder: one for each category, each background prompt and
            the extra class, in this order; with "max" a category has one row per synonym. Shared between calls: do not
            change it in place.

        Raises:
            ValueError: a prompt is longer than the text encoder's context.
        """
        return self._embedded(self._texts(vocabulary, extra_class))[0]

    def check_lengths(self, vocabulary: Vocabulary, extra_class: str | None = None) -> None:
        """Check that no prompt is too long for the text encoder, without computing embeddings.

        An encoder without a method `tokenize` is not asked; it raises the error when it encodes.

        Raises:
            ValueError: a prompt is longer than the text encoder's context.
        """
        tokenize: Callable[[list[str]], Tensor] | None = getattr(self.text_encoder, "tokenize", None)
        if tokenize is not None:
            texts = self._texts(vocabulary, extra_class)
            names = [name for column in (*texts.categories, *texts.extra) for name in column]
            prompts = [_longest(texts.templates, name) for name in names]
            tokenize([*prompts, *(_longest(texts.background_templates, prompt) for prompt in texts.background)])

    def text_rows(self, vocabulary: Vocabulary, extra_class: str | None = None) -> tuple[Tensor, list[int]]:
        """`text_embeddings` (T, E), and for each row the column of `class_logits` (C) that it belongs to."""
        texts = self._texts(vocabulary, extra_class)
        return self._embedded(texts)[0], texts.column_of_row()

    def class_logits(self, embeddings: Tensor, vocabulary: Vocabulary, extra_class: str | None = None) -> Tensor:
        """Return cosine similarities to the prompts, times the logit scale; with "max" the largest of the synonyms.

        Args:
            embeddings: (..., E) float of any length; a row must not be zero.
            vocabulary, extra_class: see `text_embeddings`.

        Returns:
            (..., C) float: K categories, N background prompts, the extra class.

        Raises:
            ValueError: a prompt is longer than the text encoder's context.
        """
        texts = self._texts(vocabulary, extra_class)
        text_embeddings, column_of_row = self._embedded(texts)
        logits = class_logits(embeddings, text_embeddings, self.logit_scale)  # (..., T)
        return logits if column_of_row is None else _largest_of_columns(logits, column_of_row, texts.num_columns)

    def _texts(self, vocabulary: Vocabulary, extra_class: str | None) -> _Texts:
        ensemble = vocabulary.ensemble or self.ensemble
        templates = vocabulary.templates or self.templates
        columns = tuple((name,) for name in vocabulary.names) if ensemble == "first" else vocabulary.synonyms
        chosen = TEMPLATES[templates] if isinstance(templates, str) else templates
        return _Texts(
            columns,
            chosen,
            row_per_synonym=ensemble == "max",
            background=vocabulary.background_prompts,
            background_templates=TEMPLATES[self.background_templates] if self.background_templates else chosen,
            extra=((extra_class,),) if extra_class else (),
        )

    def _embedded(self, texts: _Texts) -> tuple[Tensor, Tensor | None]:
        """Text embeddings (T, E), and the column of each row (T,) int64, or None if each column has one row."""
        # Versions change when weights are loaded or trained, pointers when the module moves to a device.
        weights = tuple((p.data_ptr(), p._version) for p in self.text_encoder.parameters())
        key = (texts, weights)
        found = self._remembered(key)
        if found is None:
            # Tensors created in inference mode cannot be used in training later.
            with torch.inference_mode(False), torch.no_grad():
                device = self.logit_scale.device
                rows = self._rows(texts.prompts_of_rows(), texts.templates, weights).to(device)
                if texts.background:
                    further = self._background_rows(texts, weights).to(device)
                    before_extra = len(rows) - len(texts.extra)
                    rows = torch.cat([rows[:before_extra], further, rows[before_extra:]])
                column_of_row = texts.column_of_row()
                is_plain = column_of_row == list(range(len(rows)))
                found = (rows, None if is_plain else torch.tensor(column_of_row, device=device))
        self._remember(key, found)
        return found

    def _remembered(self, key: tuple) -> tuple[Tensor, Tensor | None] | None:
        return self._cache.pop(key, None)  # added again as the newest; in between, another thread computes it too

    def _remember(self, key: tuple, found: tuple[Tensor, Tensor | None]) -> None:
        self._cache[key] = found
        if len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)

    def _background_rows(self, texts: _Texts, weights: tuple) -> Tensor:
        """Unit rows (N, E); prompts of a pool are embedded with all of it, once for all categories."""
        prompts, rows_of = texts.background, None
        pool = {prompt: row for row, prompt in enumerate(background_pool(BACKGROUND_SOURCES[0]))}
        if len(prompts) >= text_cache.LEAST_TEXTS and pool.keys() >= set(prompts):
            prompts, rows_of = tuple(pool), [pool[prompt] for prompt in prompts]
        key = ("background", prompts, texts.background_templates, weights)
        found = self._remembered(key)
        if found is None:
            filled = [[_fill(template, prompt) for template in texts.background_templates] for prompt in prompts]
            found = (self._rows(filled, texts.background_templates, weights), None)
        self._remember(key, found)
        return found[0] if rows_of is None else found[0][rows_of]

    def _rows(self, prompts: list[list[str]], templates: tuple[str, ...], weights: tuple) -> Tensor:
        """A unit row (E,) for each list of filled templates, on any device."""
        unit_first = templates != TEMPLATES["name"]
        is_trained = any(parameter.requires_grad for parameter in self.text_encoder.parameters())
        if is_trained or sum(map(len, prompts)) < text_cache.LEAST_TEXTS or text_cache.text_cache_dir() is None:
            return self._embed(prompts, unit_first)
        if self._digest is None or self._digest[0] != weights:
            self._digest = (weights, self.text_encoder.content_digest())
        return text_cache.cached(prompts, unit_first, self._digest[1], lambda: self._embed(prompts, unit_first))

    def _embed(self, prompts_of_rows: list[list[str]], unit_first: bool) -> Tensor:
        distinct = list(dict.fromkeys(prompt for prompts in prompts_of_rows for prompt in prompts))
        row_of = {prompt: row for row, prompt in enumerate(distinct)}
        embeddings = self.text_encoder.encode(distinct)
        if tuple(embeddings.shape) != (len(distinct), self.embedding_dim):
            raise ValueError(
                f"encode of the text tower returned shape {tuple(embeddings.shape)} for {len(distinct)} texts, but its "
                f"output_dim is {self.embedding_dim}; see clip.TextTower."
            )
        if unit_first:
            embeddings = F.normalize(embeddings, dim=-1)
        means = [embeddings[[row_of[prompt] for prompt in prompts]].mean(dim=0) for prompts in prompts_of_rows]
        return F.normalize(torch.stack(means), dim=-1)


@dataclass(frozen=True)
class _Texts:
    """The synonyms of each category, the background prompts and the extra class, with their prompt templates.

    `row_per_synonym`: each synonym has a row of text embeddings; False: the synonyms of a category share one row.
    """

    categories: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    row_per_synonym: bool
    background: tuple[str, ...]
    background_templates: tuple[str, ...]
    extra: tuple[tuple[str, ...], ...]

    @property
    def num_columns(self) -> int:
        return len(self.categories) + len(self.background) + len(self.extra)

    def prompts_of_rows(self) -> list[list[str]]:
        """The filled templates of each row, without background prompts."""
        columns = (*self.categories, *self.extra)
        rows = [(synonym,) for synonyms in columns for synonym in synonyms] if self.row_per_synonym else columns
        return [[_fill(template, name) for name in synonyms for template in self.templates] for synonyms in rows]

    def column_of_row(self) -> list[int]:
        """Column of each row: categories, background prompts, the extra class."""
        rows_of_column = [len(synonyms) if self.row_per_synonym else 1 for synonyms in self.categories]
        rows_of_column += [1] * (len(self.background) + len(self.extra))
        return [column for column, count in enumerate(rows_of_column) for _ in range(count)]


def _largest_of_columns(logits: Tensor, column_of_row: Tensor, num_columns: int) -> Tensor:
    """Reduce logits (..., T) to (..., C): the largest of the rows of each column."""
    lowest = logits.new_full((*logits.shape[:-1], num_columns), -torch.inf)
    return lowest.scatter_reduce(-1, column_of_row.expand_as(logits), logits, "amax")


def _longest(templates: Sequence[str], name: str) -> str:
    return max((_fill(template, name) for template in templates), key=len)


def _fill(template: str, name: str) -> str:
    article = "an" if name[:1].lower() in tuple("aeiou") else "a"
    return template.replace("{article}", article).replace("{}", name)
