import pytest

from projects.documentation.build import ROOT, check_navigation, main, navigation_pages
from projects.documentation.markdown import anchor_of, headings
from projects.documentation.pages import find_pages

NAV = [{"Home": "index.md"}, {"More": ["a.md", {"B": "b.md"}, {"C": [{"D": "d.md"}]}]}, {"API": "api/index.md"}]


def test_pages_in_the_order_of_the_navigation():
    assert list(navigation_pages(NAV)) == ["index.md", "a.md", "b.md", "d.md", "api/index.md"]


def test_a_page_in_no_navigation_is_an_error():
    check_navigation(NAV, ["a.md", "b.md", "d.md", "index.md"])
    with pytest.raises(ValueError, match="In no navigation: new.md; add them to `nav` in docs/zensical.yml"):
        check_navigation(NAV, ["a.md", "b.md", "d.md", "index.md", "new.md"])
    with pytest.raises(ValueError, match="but no file: d.md"):
        check_navigation(NAV, ["a.md", "b.md", "index.md"])
    with pytest.raises(ValueError, match="Twice in the navigation of docs/zensical.yml: a.md"):
        check_navigation([*NAV, "a.md"], ["a.md", "b.md", "d.md", "index.md"])


def test_headings_of_a_page_have_different_anchors():
    """A Git host and the site number equal anchors in different ways."""
    for page in find_pages(ROOT):
        if page.name == "changelog.md":  # every version has "Added"
            continue
        anchors = [anchor_of(title) for _, title in headings(page.file.read_text(encoding="utf-8"))]
        assert len(anchors) == len(set(anchors)), page.name


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_broken_links(tmp_path, capsys):
    pytest.importorskip("zensical")
    pytest.importorskip("griffe")
    main(["--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "no broken links" in printed and "https://maskclip.github.io" in printed
    site = tmp_path / "site"
    predictor = (site / "api/package.html").read_text()
    assert 'id="predictor"' in predictor and 'href="checkpoint.html#strictcheckpointer"' in predictor
    assert "--confidence-threshold" in (site / "commands/demo.html").read_text()
