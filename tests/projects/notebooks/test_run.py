import json
import os

import pytest

from projects.notebooks.run import ROOT, find_notebooks, main
from tests.forked import run_python


def kinds(text):
    """Of each cell with code, the kinds of its outputs."""
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return [[sorted(output.get("data", ["text"])) for output in cell["outputs"]] for cell in code]


def write(file, *sources):
    cells = [{"cell_type": "code", "source": [source], "outputs": [], "execution_count": None} for source in sources]
    file.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5}))


def test_outputs_are_stored_and_cells_run_in_an_empty_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.ipynb", "from pathlib import Path\nPath('x').write_text('y')", "list(Path().iterdir())")
    main(["a.ipynb"])
    assert "a.ipynb: " in capsys.readouterr().out and not (tmp_path / "x").exists()
    assert kinds((tmp_path / "a.ipynb").read_text()) == [[["text/plain"]], [["text/plain"]]]
    assert "PosixPath('x')" in (tmp_path / "a.ipynb").read_text()


def test_a_notebook_with_faults_is_not_stored(tmp_path, capsys):
    write(tmp_path / "a.ipynb", "print('error: no file')")
    before = (tmp_path / "a.ipynb").read_text()
    with pytest.raises(SystemExit, match=r"a.ipynb is not stored:\n  Cell 1 prints an error"):
        main([str(tmp_path / "a.ipynb")])
    assert (tmp_path / "a.ipynb").read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("file", find_notebooks(), ids=lambda file: file.stem)
def test_notebooks_run_and_show_what_is_stored(file, tmp_path):
    words = ["-m", "projects.notebooks", file, "--output", tmp_path]
    quiet = "ignore:`torch.jit.script` is deprecated:FutureWarning"  # the real Detectron2 calls it
    done = run_python(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": quiet})
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr
    assert kinds((tmp_path / file.name).read_text()) == kinds(file.read_text())
