"""Text embeddings of a vocabulary as a file that NumPy reads alone.

`vocabulary.npz` holds, without pickled objects:
    text_embeddings  (T, E) float32 unit rows, the input of the graphs
    column_of_row    (T,) int64: the column of class scores of each row; of several rows the largest logit counts
    names, is_thing  (K,) of the categories, which are the first K columns
    metadata         JSON: other_columns (names of the columns after the categories: background prompts, the extra
                     class), logit_scale, temperature, templates, ensemble, clip
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..meta_arch.open_vocabulary import OpenVocabularySegmenter
from ..vocabulary import Vocabulary

FILE_NAME = "vocabulary.npz"


def save_text_embeddings(path: Path, model: OpenVocabularySegmenter, vocabulary: Vocabulary, clip: str) -> None:
    """Write the text embeddings of categories, background prompts and extra class.

    Args:
        path: of the file, which ends with .npz.
        model: its text classifier embeds the prompts.
        vocabulary: K categories.
        clip: name of the CLIP, for the metadata.

    Raises:
        ValueError: a prompt is longer than the text encoder's context.
    """
    classifier = model.text_classifier
    rows, column_of_row = classifier.text_rows(vocabulary, model.extra_class)
    extra = (model.extra_class,) if model.extra_class else ()
    scale = float(classifier.logit_scale)
    metadata: dict[str, Any] = {
        "other_columns": [*vocabulary.background_prompts, *extra],
        "logit_scale": scale,
        "temperature": 1 / scale,
        "templates": vocabulary.templates or classifier.templates,
        "ensemble": vocabulary.ensemble or classifier.ensemble,
        "clip": clip,
    }
    np.savez(
        path,
        text_embeddings=rows.float().cpu().numpy(),
        column_of_row=np.asarray(column_of_row, dtype=np.int64),
        names=np.asarray(vocabulary.names),
        is_thing=np.asarray(vocabulary.is_thing),
        metadata=np.asarray(json.dumps(metadata)),
    )
