"""Parquet: one row per image with its segments, for tables of many images (extra `scale`).

Columns: image, height, width, task, segments and rejected, which are lists of structs with the keys of
`Segment.to_dict` and `RejectedRegion.to_dict`; of a mask's run lengths the `counts`, as their size is the image's.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from ...files import atomic_write
from ...optional_packages import optional_package, require_packages
from ...vocabulary import Vocabulary
from ..segmentation import Segmentation
from .result_format import Destination, Entries, ResultFormat, no_files

_ROWS = 256  # of a row group, which is in memory as a whole


def _entry(result: Segmentation, destination: Destination) -> dict[str, Any]:
    require_packages("The format parquet", "scale", "pyarrow")
    content = result.to_dict()
    del content["vocabulary"]
    for segment in content["segments"]:
        segment["rle"] = segment["rle"]["counts"]
    return {"image": destination.image_name, **content}


def _schema(arrow: Any, vocabulary: Vocabulary) -> Any:
    box = arrow.list_(arrow.int32(), 4)
    segment = arrow.struct(
        [
            ("label", arrow.string()), ("category_id", arrow.int32()), ("isthing", arrow.bool_()),
            ("score", arrow.float32()), ("area", arrow.int32()), ("box", box), ("rle", arrow.string()),
        ]
    )  # fmt: skip
    rejected = arrow.struct(
        [("prompt", arrow.string()), ("score", arrow.float32()), ("area", arrow.int32()), ("box", box)]
    )
    columns = [
        ("image", arrow.string()), ("height", arrow.int32()), ("width", arrow.int32()), ("task", arrow.string()),
        ("segments", arrow.list_(segment)), ("rejected", arrow.list_(rejected)),
    ]  # fmt: skip
    return arrow.schema(columns, metadata={"vocabulary": json.dumps(list(vocabulary.names))})


def _collect(path: Path, vocabulary: Vocabulary, entries: Entries) -> None:
    """One file, a row group in memory at a time; the category names are in its metadata."""
    arrow, parquet = optional_package("pyarrow"), optional_package("pyarrow.parquet")
    schema, rows = _schema(arrow, vocabulary), entries()
    with atomic_write(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        while group := list(islice(rows, _ROWS)):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))


PARQUET = ResultFormat(
    "parquet", "segments.parquet: a table with a row per image; needs pyarrow", no_files, _entry,
    ("segments.parquet",), _collect, all_segments=True,
)  # fmt: skip
