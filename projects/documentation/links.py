"""Check of the links in the pages of a built site."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SOURCES = {"a": "href", "area": "href", "img": "src", "link": "href", "script": "src", "source": "src"}


class _PageParser(HTMLParser):
    """Targets of the links and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {"", "top"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag in _SOURCES and values.get(_SOURCES[tag]):
            self.targets.append(values[_SOURCES[tag]])
            if tag not in ("a", "area"):
                self.loaded.append(values[_SOURCES[tag]])


def check_links(site: Path) -> tuple[list[str], list[str]]:
    """Follow every link between the pages and files of a folder.

    Args:
        site: the folder; its pages are the `.html` files, but not `404.html`, whose links are absolute.

    Returns:
        The broken links, one line each ("training.html: evaluation.html#nowhere"), among them files that a page loads
        from another site, and the addresses of other sites, which are not opened.
    """
    pages = {path.resolve(): _parsed(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    broken, external = [], set()
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme in ("data", "mailto"):
                continue
            if parts.scheme or parts.netloc:
                external.add(target)
                if target in page.loaded:
                    broken.append(f"{path.relative_to(site.resolve())}: loads {target}")
            elif not _exists(path, parts.path, unquote(parts.fragment), pages):
                broken.append(f"{path.relative_to(site.resolve())}: {target}")
    return broken, sorted(external)


def _parsed(path: Path) -> _PageParser:
    parser = _PageParser()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def _exists(path: Path, target: str, anchor: str, pages: dict[Path, _PageParser]) -> bool:
    file = (path.parent / unquote(target)).resolve() if target else path
    if file.is_dir():
        file = file / "index.html"
    return anchor in pages[file].anchors if file in pages and anchor else file.exists()
