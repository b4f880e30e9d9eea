"""Text classifier: words -> text embeddings, and cosine similarity to them -> class logits.

Shape shorthand: K categories, E embedding.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .prompts import TEMPLATES
from .text_encoder import TextEncoder
from .vocabulary import Vocabulary

SYNONYM_FORMS = ("first", "mean")
# Vocabularies whose embeddings are kept; an evaluation walks over a handful of datasets.
_CACHE_SIZE = 32


def class_logits(embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Cosine similarity times `logit_scale`.

    Args:
        embeddings: (..., E) float of any length; a row must not be zero.
        text_embeddings: (K, E) unit rows.
        logit_scale: 1 / temperature; 100 in MaskCLIP and MasQCLIP.

    Returns:
        (..., K) float.
    """
    return logit_scale * F.normalize(embeddings, dim=-1, eps=0.0) @ text_embeddings.to(embeddings.dtype).T


class TextClassifier(nn.Module):
    """Class logits for any vocabulary.

    Args:
        text_encoder: CLIP's text tower; not trained through here.
        logit_scale: 1 / temperature, what cosines are multiplied with: `ClipModel.logit_scale`, or 100 as in MaskCLIP
            (temperature 0.01) and MasQCLIP.
        templates: name of a set of `prompts.TEMPLATES`. "name": the bare word, as in both methods.
        synonyms: "first": a category's name alone (MaskCLIP); "mean": all its synonyms (MasQCLIP).

    The texts of a category (synonyms x templates) are averaged and the mean made unit length. Without templates the
    embeddings that enter the mean are as CLIP gives them (MasQCLIP); with templates each is made unit length first, as
    in CLIP's prompt ensembles.

    Raises:
        ValueError: no such set of templates, or no such form of synonyms.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        logit_scale: Tensor | float,
        templates: str = "name",
        synonyms: str = "first",
    ) -> None:
        super().__init__()
        if templates not in TEMPLATES:
            raise ValueError(f"No prompt templates named {templates!r}; known: {', '.join(TEMPLATES)}.")
        if synonyms not in SYNONYM_FORMS:
            raise ValueError(f"synonyms must be one of {', '.join(SYNONYM_FORMS)}; got {synonyms!r}.")
        self.text_encoder = text_encoder
        scale = torch.as_tensor(logit_scale, dtype=torch.float32).detach().clone()
        self.register_buffer("logit_scale", scale)  # in checkpoints, as it belongs to the text tower
        self.templates = templates
        self.synonyms = synonyms
        self._cache: OrderedDict[tuple, Tensor] = OrderedDict()

    @property
    def embedding_dim(self) -> int:
        return self.text_encoder.output_dim

    def text_embeddings(self, vocabulary: Vocabulary, extra_class: str | None = None) -> Tensor:
        """Embed the categories; the result of equal words and weights is computed once.

        Args:
            vocabulary: K categories.
            extra_class: text of one more class at the end, such as "background" (MasQCLIP) or "other" (MaskCLIP).

        Returns:
            (K, E), or (K + 1, E) with `extra_class`, float unit rows on the device of the text encoder. Shared between
            calls: do not change it in place.

        Raises:
            ValueError: a word is longer than the text encoder can read.
        """
        categories = vocabulary.synonyms if self.synonyms == "mean" else tuple((name,) for name in vocabulary.names)
        if extra_class:
            categories = (*categories, (extra_class,))
        # Versions change when weights are loaded or trained, pointers when the module moves to a device.
        weights = tuple((p.data_ptr(), p._version) for p in self.text_encoder.parameters())
        key = (categories, self.templates, weights)
        if key not in self._cache:
            # An embedding made in inference mode could not be used in training later.
            with torch.inference_mode(False), torch.no_grad():
                self._cache[key] = self._embed(categories)
            if len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def class_logits(self, embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """Cosine similarity of (..., E) to (K, E) text embeddings, times the logit scale: (..., K)."""
        return class_logits(embeddings, text_embeddings, self.logit_scale)

    def _embed(self, categories: tuple[tuple[str, ...], ...]) -> Tensor:
        templates = TEMPLATES[self.templates]
        prompts = [[_fill(template, word) for word in words for template in templates] for words in categories]
        distinct = list(dict.fromkeys(prompt for category in prompts for prompt in category))
        row_of = {prompt: row for row, prompt in enumerate(distinct)}
        embeddings = self.text_encoder.encode(distinct)
        if self.templates != "name":
            embeddings = F.normalize(embeddings, dim=-1)
        means = [embeddings[[row_of[prompt] for prompt in category]].mean(dim=0) for category in prompts]
        return F.normalize(torch.stack(means), dim=-1)


def _fill(template: str, word: str) -> str:
    article = "an" if word[:1].lower() in tuple("aeiou") else "a"
    return template.replace("{article}", article).replace("{}", word)
