"""Text classifier: words -> text embeddings, and cosine similarity to them -> class logits.

Shape shorthand: K categories, N background prompts, C columns of class logits (categories, background prompts, extra
class), T rows of text embeddings, E embedding.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip.text_tower import TextTower
from . import text_cache
from .prompts import TEMPLATES
from .vocabulary import ENSEMBLES, Vocabulary, near_match

# Vocabularies whose embeddings are kept; an evaluation walks over a handful of datasets.
_CACHE_SIZE = 32


def class_logits(embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Cosine similarity times `logit_scale`.

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
        text_encoder: CLIP's text tower; not trained through here.
        logit_scale: 1 / temperature, what cosines are multiplied with: `ClipModel.logit_scale`, or 100 as in MaskCLIP
            (temperature 0.01) and MasQCLIP.
        templates: name of a set of `prompts.TEMPLATES`. "name": the bare word, as in both methods.
        synonyms: "first": a category's name alone (MaskCLIP); "mean": all its synonyms (MasQCLIP); "max": the synonym
            with the largest logit.

    `templates` and `synonyms` are for vocabularies that do not say theirs.

    The texts of a row of embeddings are averaged and the mean made unit length: of a category's templates ("first"),
    its synonyms x templates ("mean"), or the templates of one of its synonyms ("max"). Without templates the embeddings
    that enter the mean are as CLIP gives them (MasQCLIP); with templates each is made unit length first, as in CLIP's
    prompt ensembles.

    Embeddings of many texts are kept on disk (`text_cache`), unless the text tower is being trained.

    Raises:
        ValueError: no such set of templates, or no such form of synonyms.
    """

    def __init__(
        self,
        text_encoder: TextTower,
        logit_scale: Tensor | float,
        templates: str = "name",
        synonyms: str = "first",
    ) -> None:
        super().__init__()
        if templates not in TEMPLATES:
            raise ValueError(
                f"No prompt templates named {templates!r}; known: {', '.join(TEMPLATES)}."
                f"{near_match(templates, TEMPLATES)}"
            )
        if synonyms not in ENSEMBLES:
            raise ValueError(f"synonyms must be one of {', '.join(ENSEMBLES)}; got {synonyms!r}.")
        self.text_encoder = text_encoder
        scale = torch.as_tensor(logit_scale, dtype=torch.float32).detach().clone()
        self.register_buffer("logit_scale", scale)  # in checkpoints, as it belongs to the text tower
        self.templates = templates
        self.synonyms = synonyms
        self._cache: OrderedDict[tuple, tuple[Tensor, Tensor | None]] = OrderedDict()
        self._digest: tuple[tuple, str] | None = None

    @property
    def embedding_dim(self) -> int:
        return self.text_encoder.output_dim

    def text_embeddings(self, vocabulary: Vocabulary, extra_class: str | None = None) -> Tensor:
        """Embed the words; the result of equal words and weights is computed once.

        Args:
            vocabulary: K categories and N background_prompts.
            extra_class: text of one more class at the end, such as "background" (MasQCLIP) or "other" (MaskCLIP).

        Returns:
            (T, E) float unit rows on the device of the text encoder: a row for each category, negative and the extra
            class, in this order; with "max" a category has a row for each of its synonyms. Shared between calls: do not
            change it in place.

        Raises:
            ValueError: a word is longer than the text encoder can read.
        """
        return self._embedded(self._texts(vocabulary, extra_class))[0]

    def class_logits(self, embeddings: Tensor, vocabulary: Vocabulary, extra_class: str | None = None) -> Tensor:
        """Cosine similarity to the words, times the logit scale; with "max" the largest of a category's synonyms.

        Args:
            embeddings: (..., E) float of any length; a row must not be zero.
            vocabulary, extra_class: see `text_embeddings`.

        Returns:
            (..., C) float: K categories, N background_prompts, the extra class.

        Raises:
            ValueError: a word is longer than the text encoder can read.
        """
        texts = self._texts(vocabulary, extra_class)
        text_embeddings, column_of_row = self._embedded(texts)
        logits = class_logits(embeddings, text_embeddings, self.logit_scale)  # (..., T)
        return logits if column_of_row is None else _largest_of_columns(logits, column_of_row, len(texts.columns))

    def _texts(self, vocabulary: Vocabulary, extra_class: str | None) -> _Texts:
        ensemble = vocabulary.ensemble or self.synonyms
        templates = vocabulary.templates or self.templates
        columns = tuple((name,) for name in vocabulary.names) if ensemble == "first" else vocabulary.synonyms
        columns += tuple((word,) for word in vocabulary.background_prompts)
        if extra_class:
            columns += ((extra_class,),)
        templates = TEMPLATES[templates] if isinstance(templates, str) else templates
        return _Texts(columns, templates, row_per_word=ensemble == "max")

    def _embedded(self, texts: _Texts) -> tuple[Tensor, Tensor | None]:
        """Rows of text embeddings (T, E), and the column of each (T,) int64, or None where they are the same."""
        # Versions change when weights are loaded or trained, pointers when the module moves to a device.
        weights = tuple((p.data_ptr(), p._version) for p in self.text_encoder.parameters())
        key = (texts, weights)
        if key not in self._cache:
            # An embedding made in inference mode could not be used in training later.
            with torch.inference_mode(False), torch.no_grad():
                device = self.text_encoder.positional_embedding.device
                rows = self._rows(texts, weights).to(device)
                column_of_row = texts.column_of_row()
                is_plain = column_of_row == list(range(len(rows)))
                self._cache[key] = (rows, None if is_plain else torch.tensor(column_of_row, device=device))
            if len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _rows(self, texts: _Texts, weights: tuple) -> Tensor:
        prompts = texts.prompts_of_rows()
        unit_first = texts.templates != TEMPLATES["name"]
        is_trained = any(parameter.requires_grad for parameter in self.text_encoder.parameters())
        if is_trained or sum(map(len, prompts)) < text_cache.LEAST_TEXTS or text_cache.text_cache_dir() is None:
            return self._embed(prompts, unit_first)
        if self._digest is None or self._digest[0] != weights:
            self._digest = (weights, text_cache.weights_digest(self.text_encoder))
        return text_cache.cached(prompts, unit_first, self._digest[1], lambda: self._embed(prompts, unit_first))

    def _embed(self, prompts_of_rows: list[list[str]], unit_first: bool) -> Tensor:
        distinct = list(dict.fromkeys(prompt for prompts in prompts_of_rows for prompt in prompts))
        row_of = {prompt: row for row, prompt in enumerate(distinct)}
        embeddings = self.text_encoder.encode(distinct)
        if unit_first:
            embeddings = F.normalize(embeddings, dim=-1)
        means = [embeddings[[row_of[prompt] for prompt in prompts]].mean(dim=0) for prompts in prompts_of_rows]
        return F.normalize(torch.stack(means), dim=-1)


@dataclass(frozen=True)
class _Texts:
    """What is to be embedded: the words of each column of the class logits, and the templates they are put into.

    `row_per_word`: each word is a row of the embeddings by itself; False: the words of a column are one row.
    """

    columns: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    row_per_word: bool

    def prompts_of_rows(self) -> list[list[str]]:
        rows = [(word,) for words in self.columns for word in words] if self.row_per_word else self.columns
        return [[_fill(template, word) for word in words for template in self.templates] for words in rows]

    def column_of_row(self) -> list[int]:
        words_in_column = [len(words) if self.row_per_word else 1 for words in self.columns]
        return [column for column, count in enumerate(words_in_column) for _ in range(count)]


def _largest_of_columns(logits: Tensor, column_of_row: Tensor, num_columns: int) -> Tensor:
    """(..., T) -> (..., C): the largest of the rows that belong to each column."""
    lowest = logits.new_full((*logits.shape[:-1], num_columns), -torch.inf)
    return lowest.scatter_reduce(-1, column_of_row.expand_as(logits), logits, "amax")


def _fill(template: str, word: str) -> str:
    article = "an" if word[:1].lower() in tuple("aeiou") else "a"
    return template.replace("{article}", article).replace("{}", word)
