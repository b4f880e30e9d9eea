"""The command prefers trained weights to shipped ones and reports in one line what a figure lacks."""

import pytest

from projects.figures import make_figures
from projects.figures.make_figures import FIGURES, Missing, Sources, main


@pytest.fixture
def no_shipped_weights(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(make_figures, "local_weights_path", missing)


def call(tmp_path, *words):
    main(["--docs", str(tmp_path / "docs"), "--output-root", str(tmp_path / "output"), *words])


def test_figures_without_weights_are_skipped_with_a_line(tmp_path, no_shipped_weights, capsys):
    call(tmp_path, "--vocab", "plain cross")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(FIGURES) and not (tmp_path / "docs").exists()
    skipped = dict(zip(FIGURES, lines[1::2], strict=True))
    assert all(line.startswith("  skipped, since ") for line in skipped.values())
    assert "stage 'teacher'" in skipped["proposals"] and "masqclip://shapes_teacher" in skipped["pseudo_masks"]
    assert "stage 'maskclip'" in skipped["refinement"] and "metrics.json" in skipped["training_curves"]


def test_the_demo_needs_categories(tmp_path, capsys):
    call(tmp_path, "--only", "demo")
    assert "skipped, since it has no categories: set --vocab." in capsys.readouterr().out


def test_trained_weights_are_preferred_to_shipped_ones(tmp_path, monkeypatch):
    sources = Sources(tmp_path, "", "")
    assert sources.weights("teacher") == "masqclip://shapes_teacher"
    trained = tmp_path / "teacher" / "model_final.pth"
    trained.parent.mkdir()
    trained.write_bytes(b"")
    assert sources.weights("teacher") == str(trained)
    with pytest.raises(Missing, match="stage 'nonsense'"):
        sources.weights("nonsense")


def test_the_best_method_with_weights_is_shown(tmp_path, no_shipped_weights, monkeypatch):
    monkeypatch.setattr(Sources, "predictor", lambda self, stage, config: (stage, config))
    sources = Sources(tmp_path, "", "")
    with pytest.raises(Missing):
        sources.method()
    expected = [("MaskCLIP w/o RMA", "teacher"), ("MaskCLIP", "maskclip"), ("MasQCLIP", "masqclip")]
    for title, stage in expected:
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "model_final.pth").write_bytes(b"")
        assert sources.method()[0] == title and sources.method()[1][0] == stage


def test_a_figure_from_the_shipped_weights(tmp_path, capsys):
    call(tmp_path, "--only", "proposals")
    size = (tmp_path / "docs" / "proposals.png").stat().st_size
    assert 10_000 < size < 400_000
    assert "from masqclip://shapes_teacher" in capsys.readouterr().out
