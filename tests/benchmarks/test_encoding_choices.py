"""benchmarks/encoding_choices.py runs on small sizes and counts the passes of CLIP."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "encoding_choices.py"


@pytest.fixture
def run(monkeypatch):
    spec = importlib.util.spec_from_file_location("encoding_choices_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["encoding_choices.py", "--clip", "shapes-tiny", "--repeats", "1", *words])
        module.main()

    return run


def test_every_choice_has_its_time_and_its_passes(run, capsys):
    run("--height", "60", "--width", "120", "--masks", "60", "--categories", "2")
    printed = capsys.readouterr().out
    passes = dict(re.findall(r"^([A-Za-z2-3_, ]+?) +(\d+) passes +\d", printed, flags=re.M))
    assert list(passes) == [
        "mask class tokens",
        "ValuePooling",
        "SQUARE_TILES",
        "TILES 2",
        "TILES 2, SQUARE_TILES",
        "TILES 3",
    ]
    assert passes["ValuePooling"] == "1" and 1 < int(passes["SQUARE_TILES"]) <= 4 and 1 < int(passes["TILES 2"]) <= 5
    assert re.search(r"clip_imagenet_80 +80 prompts", printed) and re.search(r"vild_14 +14 prompts", printed)
