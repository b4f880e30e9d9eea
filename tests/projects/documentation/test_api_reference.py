import json
from pathlib import Path

import pytest

pytest.importorskip("griffe")
from projects.documentation.api_reference import api_pages

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def pages():
    return api_pages(ROOT)


def test_public_names_have_an_entry(pages):
    names = json.loads((ROOT / "tests/public_names.json").read_text())["package"]
    modules = {"meta_arch", "proposer", "registration", "shapes"}
    for name in set(names) - modules:
        assert f"## {name}\n" in pages["api/package.md"]
    assert "## PROPOSER_REGISTRY" in pages["api/proposer.md"] and "## register_mapper" in pages["api/data_mappers.md"]


def test_docstrings_become_tables_and_links(pages):
    text = pages["api/package.md"]
    assert "| `device`, `opts`, `imports`, `dtype`, `compile`, `cuda_graphs` | see `Predictor`. |" in text
    assert "| `FileNotFoundError`, `KeyError`, `ValueError` | see `load_config`" in text
    assert "[`StrictCheckpointer`](checkpoint.md#strictcheckpointer)" in text
    assert "**Returns:** (Q, h, w) float32." in text
    assert "Args:" not in text and "Returns:\n" not in text


def test_private_names_have_no_entry(pages):
    headings = [line for text in pages.values() for line in text.splitlines() if line.startswith("##")]
    assert [line for line in headings if line.strip("#` ").startswith("_") and "__call__" not in line] == []


def test_methods_properties_and_fields(pages):
    assert "### `from_pretrained` {#predictor-from_pretrained}" in pages["api/package.md"]
    assert "class AttentionInputs(normed_tokens: Tensor, query: Tensor," in pages["api/clip.md"]
    assert "class Clip\n" in pages["api/clip.md"]  # a protocol has no constructor
