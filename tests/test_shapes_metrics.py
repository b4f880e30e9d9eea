"""The pages with results on Shapes agree with docs/shapes_results.json."""

import json
from pathlib import Path

from projects.shapes_results.rows import ORDERINGS, ROWS
from projects.shapes_results.seed_table import judge, page

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = json.loads((ROOT / "docs" / "shapes_results.json").read_text())


def test_every_row_of_the_page_is_measured_and_still_exists():
    """Rows that were added later are measured when the table is made again."""
    keys, known = [row["key"] for row in DOCUMENT["rows"]], [row.key for row in ROWS]
    assert keys == [key for key in known if key in keys]
    for row in DOCUMENT["rows"]:
        assert row["commands"] and row["mean"]["AP50_novel"] is not None, row["title"]
        assert list(row["seeds"]) == list(map(str, DOCUMENT["seeds"])), row["title"]
    assert DOCUMENT["hours"] > 0


def test_verdicts_follow_from_the_metrics_of_the_seeds():
    measured = {
        row["key"]: {int(seed): found["metrics"] for seed, found in row["seeds"].items()} for row in DOCUMENT["rows"]
    }
    assert DOCUMENT["orderings"] == [judge(ordering, measured) for ordering in ORDERINGS]


def test_the_page_is_made_of_the_json():
    assert (ROOT / "docs" / "shapes_results.md").read_text() == page(DOCUMENT)
