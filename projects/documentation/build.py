"""The command `python -m projects.documentation`: collect the pages, build the site, check its links."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from .api_reference import api_pages
from .command_reference import command_pages
from .links import check_links
from .markdown import breakable_table_code
from .pages import find_pages

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = "docs/zensical.yml"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--output", type=Path, default=Path("output/documentation"), help="default: %(default)s")
    args = parser.parse_args(argv)
    start = time.monotonic()
    try:
        write_sources(ROOT, args.output)
        build_site(args.output)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    site = args.output / "site"
    broken, external = check_links(site)
    print(f"{len(external)} links to other sites, not opened:", *external, sep="\n  ")
    if broken:
        sys.exit("\n  ".join([f"error: {len(broken)} broken links:", *broken]))
    pages = len(list(site.rglob("*.html")))
    print(f"{pages} pages in {time.monotonic() - start:.0f} s, no broken links: {site / 'index.html'}")
    print(f"With search: python -m http.server --directory {site}")


def write_sources(root: Path, output: Path) -> None:
    """Write the pages, figures and configuration of the site to a folder that is emptied first.

    Args:
        root: the repository.
        output: gets `source/` and `zensical.yml`; the site will be in `site/`.

    Raises:
        FileNotFoundError, ValueError: a link leads to no page, see `Page.text`; or see `check_navigation`.
    """
    pages = find_pages(root)
    names = {page.file.resolve(): page.name for page in pages}
    generated = {"commands": command_pages(), "api": api_pages(root)}
    config = yaml.safe_load((root / CONFIG).read_text(encoding="utf-8"))
    config["nav"] = _with_generated(config["nav"], generated)
    check_navigation(config["nav"], [page.name for page in pages])
    source = output / "source"
    for folder in (source, output / "site"):
        shutil.rmtree(folder, ignore_errors=True)
    for page in pages:
        _write(source / page.name, breakable_table_code(page.text(names)))
    for name, text in (item for part in generated.values() for item in part.items()):
        _write(source / name, breakable_table_code(text))
    for file in (root / "docs").rglob("*"):
        if file.is_file() and file.suffix not in (".md", ".yml", ".ipynb"):  # figures, style sheets
            _write(source / file.relative_to(root / "docs"), file.read_bytes())
    _write(output / "zensical.yml", yaml.safe_dump(config, sort_keys=False))


def build_site(output: Path) -> None:
    """Run zensical, whose warnings are errors.

    Raises:
        RuntimeError: it failed or is not installed; the message has its output.
    """
    program = Path(sys.executable).with_name("zensical")
    if not program.exists():
        raise RuntimeError('zensical is not installed. Run `pip install "masqclip_d2[docs]"`.')
    command = [str(program), "build", "--clean", "--strict", "--config-file", "zensical.yml"]
    done = subprocess.run(command, cwd=output, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"zensical has failed:\n{done.stdout}{done.stderr.split('Traceback')[0]}")


def check_navigation(nav: list, names: list[str]) -> None:
    """Raise ValueError if a page is missing in the navigation, stands there twice or does not exist."""
    listed = [name for name in navigation_pages(nav) if not name.startswith(("api/", "commands/"))]
    missing = sorted(set(names) - set(listed))
    if missing:
        raise ValueError(f"In no navigation: {', '.join(missing)}; add them to `nav` in {CONFIG}.")
    unknown = sorted(set(listed) - set(names))
    if unknown:
        raise ValueError(f"In the navigation of {CONFIG}, but no file: {', '.join(unknown)}; correct it.")
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise ValueError(f"Twice in the navigation of {CONFIG}: {', '.join(twice)}; remove one.")


def navigation_pages(nav: list) -> Iterator[str]:
    """Page names in the order of the navigation."""
    for entry in nav:
        for item in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(item, str):
                yield item
            else:
                yield from navigation_pages(item)


def _with_generated(nav: list, generated: dict[str, dict[str, str]]) -> list:
    """The navigation with the names "commands" and "api" replaced by the pages of these references."""
    result = []
    for entry in nav:
        if not isinstance(entry, dict):
            result.append(entry)
            continue
        ((title, item),) = entry.items()
        if isinstance(item, str):
            result.append({title: [*generated[item]] if item in generated else item})
        else:
            result.append({title: _with_generated(item, generated)})
    return result


def _write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
