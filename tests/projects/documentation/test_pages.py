import json

import pytest

from projects.documentation.pages import OUTSIDE_PAGES, Page, find_pages, inline_diagram

SVG = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg">
  <!-- a comment -->
  <style>svg { fill: black } @media (prefers-color-scheme: dark) { svg { fill: white } }</style>

  <text>token</text>
</svg>
"""


@pytest.fixture
def repository(tmp_path):
    """A repository with docs/a.md, docs/b.md, data/README.md, a figure and a diagram."""
    for name, text in {
        "docs/a.md": "",
        "docs/sub/b.md": "",
        "data/README.md": "",
        "docs/x.png": "",
        "code.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "docs/d.svg").write_text(SVG)
    return tmp_path


def text_of(root, text, name="a.md", file="docs/a.md"):
    names = {"docs/a.md": "a.md", "docs/sub/b.md": "sub/b.md", "data/README.md": "data.md"}
    (root / file).write_text(text)
    return Page(name, root / file, root).text({(root / path).resolve(): page for path, page in names.items()})


def test_links_between_files_become_links_between_pages(repository):
    assert text_of(repository, "[b](sub/b.md#part), [d](../data/README.md)") == "[b](sub/b.md#part), [d](data.md)"
    assert text_of(repository, "[a](../docs/a.md)", "data.md", "data/README.md") == "[a](a.md)"
    assert text_of(repository, "[d](../../data/README.md)", "sub/b.md", "docs/sub/b.md") == "[d](../data.md)"
    assert text_of(repository, "![x](../docs/x.png)", "data.md", "data/README.md") == "![x](x.png)"


def test_other_links_and_code_stay(repository):
    text = "[w](https://example.org), [h](#here) and `[a](b.md)`\n\n```\n[c](d.md)\n```\n"
    assert text_of(repository, text.replace("`[a](b.md)`", "`a`")) == text.replace("`[a](b.md)`", "`a`")


def test_files_without_a_page_are_named(repository):
    assert text_of(repository, "[the code](../code.py)") == "the code (`code.py` in the repository)"


def test_links_in_notebooks_lead_to_pages_too(repository):
    cell = {"cell_type": "markdown", "source": ["# Title\n", "\n", "[a](../docs/a.md)"]}
    (repository / "demo").mkdir()
    text = text_of(repository, json.dumps({"cells": [cell]}), "n.md", "demo/n.ipynb")
    assert (
        text == "# Title\n\nThis page is a notebook with its outputs, `demo/n.ipynb` in the repository.\n\n[a](a.md)\n"
    )


def test_links_that_lead_nowhere_are_errors(repository):
    with pytest.raises(FileNotFoundError, match=r"docs/a.md links to none.md"):
        text_of(repository, "[x](none.md)")
    (repository / "docs/c.md").write_text("")
    with pytest.raises(ValueError, match="add it to OUTSIDE_PAGES"):
        text_of(repository, "[x](c.md)")


def test_a_diagram_follows_the_theme_of_the_site(repository):
    html = inline_diagram(repository / "docs/d.svg", "Tokens")
    assert '[data-md-color-scheme="slate"] { svg { fill: white } }' in html
    assert "<?xml" not in html and "comment" not in html and "\n\n" not in html
    assert text_of(repository, "![Tokens](d.svg)") == html


def test_every_markdown_file_and_notebook_of_docs_is_a_page(repository):
    (repository / "docs/sub/n.ipynb").write_text("{}")
    names = [page.name for page in find_pages(repository)]
    assert names == sorted(["a.md", "sub/b.md", "sub/n.md", *OUTSIDE_PAGES])
