"""Parquet tables of results."""

import importlib.util
import json

import numpy as np
import pytest

from masqclip_d2.coco_masks import from_run_length
from tests.results.example import HW, VOCABULARY, example

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow (extra scale)")


def test_a_row_has_all_segments_of_an_image(tmp_path):
    import pyarrow.parquet as parquet

    result = example("instance")
    [path] = result.save(tmp_path, "parquet", stem="a", image_name="a.jpg")
    table = parquet.read_table(path)
    [row] = table.to_pylist()
    assert path.name == "a_segments.parquet" and (row["image"], row["height"], row["width"]) == ("a.jpg", *HW)
    assert json.loads(table.schema.metadata[b"vocabulary"]) == list(VOCABULARY.names)
    for found, segment in zip(row["segments"], result, strict=True):  # weak ones, too
        assert (found["label"], found["category_id"], found["area"]) == (
            segment.label,
            segment.category_id,
            segment.area,
        )
        assert found["box"] == segment.box_xyxy and found["score"] == pytest.approx(segment.score)
        assert np.array_equal(from_run_length({"size": list(HW), "counts": found["rle"]}), segment.mask)


def test_images_without_segments_have_a_row(tmp_path):
    import pyarrow.parquet as parquet

    [path] = example().filter(min_score=1.0).save(tmp_path, "parquet")
    assert parquet.read_table(path).to_pylist()[0]["segments"] == []


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"The format parquet needs the package pyarrow: pip install 'masqclip_d2\[sc"
    ):
        example().save(tmp_path, "parquet")
