"""python -m masqclip_d2.cli.vocabulary"""

import subprocess
import sys
from pathlib import Path

import pytest

from masqclip_d2.cli.vocabulary import main
from masqclip_d2.vocabulary import load_vocabulary

ROOT = Path(__file__).resolve().parents[2]


def test_lists_the_shipped_vocabularies():
    done = subprocess.run(
        [sys.executable, "-m", "masqclip_d2.cli.vocabulary"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "coco_panoptic/{maskclip,masqclip,openseg}: 133 categories" in done.stdout.splitlines()
    assert "lvis_v1/{maskclip,masqclip,openseg}: 1203 categories" in done.stdout.splitlines()


def test_shows_and_writes_one(tmp_path, capsys):
    main(["coco_panoptic/masqclip"])
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 133 and shown[0] == "person" and "tree-merged: tree, trees, palm tree, bushes" in shown
    path = tmp_path / "words.yaml"
    main(["coco_panoptic/openseg", str(path)])
    assert load_vocabulary(path) == load_vocabulary("coco_panoptic/openseg")


def test_overwrites_nothing(tmp_path, capsys):
    path = tmp_path / "words.yaml"
    path.write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        main(["shapes/maskclip", str(path)])
    assert stopped.value.code == 1 and path.read_text() == "mine"
    assert f"error: {path} exists already" in capsys.readouterr().err
