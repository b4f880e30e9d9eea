"""make_figures takes trained weights before shipped ones, and says in one line what is missing for a figure."""

import pytest

from projects.figures import make_figures
from projects.figures.make_figures import FIGURES, Missing, Sources, main


@pytest.fixture
def nothing_ships(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(make_figures, "local_weights_path", missing)


def call(tmp_path, *words):
    main(["--docs", str(tmp_path / "docs"), "--output-root", str(tmp_path / "output"), *words])


def test_figures_without_weights_are_skipped_with_a_line(tmp_path, nothing_ships, capsys):
    call(tmp_path, "--vocab", "plain cross")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(FIGURES) and not (tmp_path / "docs").exists()
    skipped = dict(zip(FIGURES, lines[1::2], strict=True))
    assert all(line.startswith("  skipped, since there ") for line in skipped.values())
    assert "stage 'teacher'" in skipped["proposals"] and "masqclip://shapes_teacher" in skipped["pseudo_masks"]
    assert "stage 'maskclip'" in skipped["refinement"] and "metrics.json" in skipped["training_curves"]


def test_the_demo_needs_words(tmp_path, capsys):
    call(tmp_path, "--only", "demo")
    assert "skipped, since there are no words: give --vocab." in capsys.readouterr().out


def test_weights_trained_here_come_before_those_that_ship(tmp_path, monkeypatch):
    sources = Sources(tmp_path, tmp_path, "", "")
    assert sources.weights("teacher") == "masqclip://shapes_teacher"
    trained = tmp_path / "teacher" / "model_final.pth"
    trained.parent.mkdir()
    trained.write_bytes(b"")
    assert sources.weights("teacher") == str(trained)
    with pytest.raises(Missing, match="stage 'nonsense'"):
        sources.weights("nonsense")


def test_the_best_method_that_is_there_is_shown(tmp_path, nothing_ships, monkeypatch):
    monkeypatch.setattr(Sources, "predictor", lambda self, stage, config: (stage, config))
    sources = Sources(tmp_path, tmp_path, "", "")
    with pytest.raises(Missing):
        sources.method()
    expected = [("MaskCLIP w/o RMA", "teacher"), ("MaskCLIP", "maskclip"), ("MasQCLIP", "masqclip")]
    for title, stage in expected:
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "model_final.pth").write_bytes(b"")
        assert sources.method()[0] == title and sources.method()[1][0] == stage


def test_a_picture_from_the_shipped_weights(tmp_path, capsys):
    call(tmp_path, "--only", "proposals")
    size = (tmp_path / "docs" / "proposals.png").stat().st_size
    assert 10_000 < size < 400_000
    assert "from masqclip://shapes_teacher" in capsys.readouterr().out
