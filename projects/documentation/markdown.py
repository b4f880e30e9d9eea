"""Parts of Markdown text: code and what is outside of it, headings and their anchors, table cells."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

_FENCE = re.compile(r"^(```.*?^```[^\n]*$)", flags=re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(`[^`\n]+`)")


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the text outside of fenced code blocks; indented ones contain no links."""
    parts = _FENCE.split(text)
    return "".join(part if index % 2 else change(part) for index, part in enumerate(parts))


def code_spans(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the code between backticks in a line."""

    def change_spans(part: str) -> str:
        return _SPAN.sub(lambda match: change(match[0]), part)

    return outside_code(text, change_spans)


def breakable_table_code(text: str) -> str:
    """Code in tables as HTML that may break after `/`, `.` and `_`: long paths and names else make columns too wide.

    A bar in code, which Git hosts need escaped in a table, becomes a plain one.
    """

    def change(match: re.Match) -> str:
        code = html.escape(match[0].strip("`").replace("\\|", "|"), quote=False).replace("|", "&#124;")
        return "<code>" + re.sub(r"([/._])(?=[A-Za-z])", r"\1<wbr>", code) + "</code>"

    def change_rows(part: str) -> str:
        return re.sub(r"^\|.*\|$", lambda row: _SPAN.sub(change, row[0]), part, flags=re.MULTILINE)

    return outside_code(text, change_rows)


def headings(text: str) -> Iterator[tuple[int, str]]:
    """(level, text) of the headings of a page."""
    for part in _FENCE.split(text)[::2]:
        for marks, title in re.findall(r"^(#{1,6}) (.+)$", part, flags=re.MULTILINE):
            yield len(marks), title.strip()


def anchor_of(title: str) -> str:
    """The anchor that Git hosts make of a heading, which the site uses too."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A table; bars and line breaks in cells are escaped."""
    lines = [columns, ["---"] * len(columns), *[[_cell(text) for text in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    text = " ".join(text.split())
    pieces = _SPAN.split(text)
    return "".join(piece if index % 2 else piece.replace("|", "\\|") for index, piece in enumerate(pieces))


def literal(text: str) -> str:
    """Plain text as Markdown that shows the same; code between backticks stays code."""
    pieces = _SPAN.split(text)
    for index in range(0, len(pieces), 2):
        pieces[index] = re.sub(r"([*<\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", pieces[index])
    return "".join(pieces)
