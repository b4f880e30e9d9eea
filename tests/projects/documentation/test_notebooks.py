import json

from projects.documentation.notebooks import notebook_markdown


def test_code_prints_and_pictures_of_a_notebook():
    html = {"output_type": "execute_result", "data": {"text/html": ["<div>", "x</div>"], "text/plain": ["result"]}}
    picture = {"output_type": "display_data", "data": {"image/jpeg": "abc=", "text/plain": ["<Image>"]}}
    printed = {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]}
    value = {"output_type": "execute_result", "data": {"text/plain": ["(1, 2)"]}}
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text."]},
        {"cell_type": "code", "source": ["a = 1\n", "a"], "outputs": [html, picture, printed, value]},
    ]
    assert notebook_markdown(json.dumps({"cells": cells}), "demo/x.ipynb") == (
        "# Title\n\nThis page is a notebook with its outputs, `demo/x.ipynb` in the repository.\n\nText.\n\n"
        "```python\na = 1\na\n```\n\n<div>x</div>\n\n"
        '<div><img src="data:image/jpeg;base64,abc=" alt="picture"></div>\n\n'
        "```text\none\ntwo\n```\n\n```text\n(1, 2)\n```\n"
    )
