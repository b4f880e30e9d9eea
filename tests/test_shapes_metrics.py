"""The pages with results on Shapes agree with docs/shapes_results.json."""

import json
from pathlib import Path

from projects.shapes_results.rows import ROWS
from projects.shapes_results.seed_table import page

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = json.loads((ROOT / "docs" / "shapes_results.json").read_text())


def test_every_row_is_measured():
    assert [row["key"] for row in DOCUMENT["rows"]] == [row.key for row in ROWS]
    for row in DOCUMENT["rows"]:
        assert row["commands"] and row["mean"]["AP50_novel"] is not None, row["title"]
        assert list(row["seeds"]) == list(map(str, DOCUMENT["seeds"])), row["title"]
    assert DOCUMENT["hours"] > 0


def test_the_page_is_made_of_the_json():
    assert (ROOT / "docs" / "shapes_results.md").read_text() == page(DOCUMENT)
