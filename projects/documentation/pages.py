"""Pages of the site from Markdown files and notebooks, whose relative links also work on a Git host."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .markdown import outside_code
from .notebooks import notebook_markdown

# Pages of the site whose files lie outside docs/.
OUTSIDE_PAGES = {
    "quickstart.md": "demo/quickstart.ipynb",
    "datasets.md": "datasets/README.md",
    "shapes_weights.md": "masqclip_d2/weights/README.md",
    "results_tables.md": "projects/shapes_results/README.md",
    "figures.md": "projects/figures/README.md",
    "site.md": "projects/documentation/README.md",
    "label_studio.md": "examples/label_studio_backend/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]`]|`[^`]*`|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_DARK_IN_FILE = "@media (prefers-color-scheme: dark)"
_DARK_ON_SITE = '[data-md-color-scheme="slate"]'


@dataclass(frozen=True)
class Page:
    """A page of the site and the file that it is made of.

    Args:
        name: its path in the source folder of the site, such as "training.md".
        file: the Markdown file or notebook.
        root: the repository.
    """

    name: str
    file: Path
    root: Path

    def text(self, names: dict[Path, str]) -> str:
        """Markdown for the site.

        Args:
            names: page names by resolved files; a link to one of these files becomes a link to its page.

        Raises:
            FileNotFoundError: a link leads to a file that does not exist.
            ValueError: a link leads to a Markdown file or notebook that is no page of the site.
        """

        def replace(match: re.Match) -> str:
            return self._link(match, names)

        text = self.file.read_text(encoding="utf-8")
        if self.file.suffix == ".ipynb":
            text = notebook_markdown(text, str(self.file.relative_to(self.root)))
        return outside_code(text, lambda part: _LINK.sub(replace, part))

    def _link(self, match: re.Match, names: dict[Path, str]) -> str:
        image, label, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z+]+:", target):
            return match[0]
        file = (self.file.parent / path).resolve()
        where = self.file.relative_to(self.root)
        if not file.exists():
            raise FileNotFoundError(f"{where} links to {path}, which does not exist; correct the link.")
        if image and file.suffix == ".svg":
            return inline_diagram(file, label)
        if file in names:
            relative = os.path.relpath(names[file], os.path.dirname(self.name) or ".")
            return f"{image}[{label}]({relative}{'#' + anchor if anchor else ''})"
        if file.suffix in (".md", ".ipynb"):
            raise ValueError(
                f"{where} links to {path}, which is no page of the site; add it to OUTSIDE_PAGES and to the "
                "navigation in docs/zensical.yml."
            )
        docs = (self.root / "docs").resolve()
        if file.is_relative_to(docs) and file.is_file():
            relative = os.path.relpath(file.relative_to(docs), os.path.dirname(self.name) or ".")
            return f"{image}[{label}]({relative})"
        return f"{label} (`{file.relative_to(self.root.resolve())}` in the repository)"


def find_pages(root: Path) -> list[Page]:
    """Pages of the Markdown files and notebooks in docs/ and of `OUTSIDE_PAGES`, in alphabetical order."""
    docs = root / "docs"
    files = [file for kind in ("*.md", "*.ipynb") for file in docs.rglob(kind)]
    pages = [Page(str(file.relative_to(docs).with_suffix(".md")), file, root) for file in files]
    pages += [Page(name, root / file, root) for name, file in OUTSIDE_PAGES.items()]
    return sorted(pages, key=lambda page: page.name)


def inline_diagram(file: Path, label: str) -> str:
    """An SVG file as HTML: its text can be searched, and its colors follow the theme of the site."""
    svg = file.read_text(encoding="utf-8").strip().replace(_DARK_IN_FILE, _DARK_ON_SITE)
    svg = re.sub(r"<\?xml.*?\?>\s*|<!--.*?-->\s*|\n\s*\n", "", svg, flags=re.DOTALL)
    svg = re.sub(r"^\s+", "", svg, flags=re.MULTILINE)  # indented lines would be code
    return f'<div class="diagram" role="img" aria-label="{label}">{svg}</div>'
