"""The verb `vocabulary`."""

import pytest

from masqclip_d2.cli.vocabulary import main
from masqclip_d2.vocabulary import load_vocabulary


def test_lists_the_shipped_vocabularies(capsys):
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert "coco_panoptic/{maskclip,masqclip,openseg}: 133 categories" in lines
    assert "lvis_v1/{maskclip,masqclip,openseg}: 1203 categories" in lines


def test_shows_and_writes_one(tmp_path, capsys):
    main(["coco_panoptic/masqclip"])
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 133 and shown[0] == "person" and "tree: tree, trees, palm tree, bushes" in shown
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
