import json

import pytest

from projects.documentation.pages import find_pages
from projects.notebooks.run import ROOT, find_notebooks
from projects.notebooks.stored import MAX_BYTES, faults

NOTEBOOKS = find_notebooks()


def text_of(*outputs, count=1):
    return json.dumps({"cells": [{"cell_type": "code", "execution_count": count, "outputs": list(outputs)}]})


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": [text]}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (text_of(printed("/home/me/x.png")), "Cell 1 prints a path of a machine: /home/me/x.png"),
        (text_of(printed("a UserWarning: old")), "Cell 1 prints a warning: UserWarning"),
        (text_of(printed("error: no file")), "Cell 1 prints an error: error:"),
        (text_of(printed("x", "stderr")), "Cell 1 has an output of errors."),
        (text_of({"output_type": "error"}), "Cell 1 has an output of errors."),
        (text_of(count=None), "Its cells were not run once, from the first to the last."),
        (text_of(printed("x" * MAX_BYTES)), "It has 400 kB, the limit is 400 kB."),
    ],
)
def test_faults_are_found(text, fault):
    assert faults(text) == [fault]


def test_other_outputs_are_fine():
    assert faults(text_of(printed("output/a.png, 1/work/2, https://example.org/home/x"))) == []


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_stored_notebooks_have_outputs_and_no_faults(file):
    text = file.read_text(encoding="utf-8")
    assert faults(text) == []
    assert "image/jpeg" in text


def test_the_quickstart_is_there_and_links_of_notebooks_lead_somewhere():
    pages = find_pages(ROOT)
    names = {page.file.resolve(): page.name for page in pages}
    texts = {page.file: page.text(names) for page in pages if page.file.suffix == ".ipynb"}
    assert ROOT / "demo/quickstart.ipynb" in texts and set(texts) == set(NOTEBOOKS)
