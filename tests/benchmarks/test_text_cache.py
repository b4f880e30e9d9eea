"""benchmarks/text_cache.py runs on small sizes, and its second start is from disk."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "text_cache.py"


@pytest.fixture
def run(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("text_cache_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", str(tmp_path))  # restored after the test

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["text_cache.py", "--architecture", "shapes-tiny", *words])
        module.main()

    return run


def test_the_second_start_is_faster(run, capsys):
    run("--vocabulary", "coco_panoptic/maskclip", "--starts", "1")
    printed = capsys.readouterr().out
    assert "coco_panoptic/maskclip (133 categories), templates name" in printed
    first, second = (float(re.search(rf"{which} start +([\d.]+) s", printed)[1]) for which in ("first", "second"))
    assert 0 < second < first


def test_a_vocabulary_too_small_for_the_cache_is_an_error(run):
    with pytest.raises(ValueError, match=r"17 texts are too few to be cached \(minimum: 64\)"):
        run("--vocabulary", "coco_novel17/maskclip")
