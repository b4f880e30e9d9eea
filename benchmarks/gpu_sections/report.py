"""Rows of the GPU benchmark, in files that are written row by row, so that an interrupted run leaves its results.

`results.json` is also how the process that measures and the one that supervises it communicate: a row is "running"
before its result is known, so that the row of a crash or of a kernel that never ends is known too, and the next
process continues behind it. Standard library only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DONE, SKIPPED, FAILED, RUNNING = "done", "skipped", "failed", "running"


class Skip(Exception):
    """A row does not apply here; the message is the reason."""


class Report:
    """Sections with rows, each printed and saved at once.

    Args:
        folder: of `results.json` and `results.md`.
        total: seconds for the whole report, from the first call of `begin` on.
        after_failure: called after each failed row.
    """

    def __init__(self, folder: Path, total: float, after_failure: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        self._after_failure = after_failure
        self._deadline = 0.0
        path = folder / "results.json"
        state = json.loads(path.read_text()) if path.exists() else {}
        self.state: dict[str, Any] = {"started": time.time(), "total": total, "values": {}, "sections": [], **state}

    @property
    def values(self) -> dict[str, Any]:
        """What later sections need of earlier ones."""
        return self.state["values"]

    def begin(self, title: str, columns: Mapping[str, str], share: float) -> None:
        """Start or resume a section.

        Args:
            title: unique.
            columns: name -> format of the values, such as "{:.2f}".
            share: of the remaining time that this section may take; what it leaves is for the later ones.
        """
        found = [section for section in self.state["sections"] if section["title"] == title]
        if not found:
            end, now = self.state["started"] + self.state["total"], time.time()
            found = [{"title": title, "columns": dict(columns), "deadline": now + share * (end - now), "rows": []}]
            self.state["sections"] += found
            print(f"\n{title}", flush=True)
        self._section = found[0]
        self._deadline = self._section["deadline"]

    def row(self, name: str, measure: Callable[[], Mapping[str, Any]]) -> None:
        """Add a row with the values of `measure`; a row of an earlier process is not measured again.

        An error is a failed row, `Skip` a skipped one, as is a row for which no time is left.
        """
        if any(row["name"] == name for row in self._section["rows"]):
            return
        row = {"name": name, "status": RUNNING, "reason": "", "values": {}}
        self._section["rows"].append(row)
        if time.time() > self._deadline:
            row.update(status=SKIPPED, reason="the time of this section is used up")
            self._finish(row)
            return
        self.save()
        begin = time.time()
        try:
            row.update(status=DONE, values=dict(measure()))
            failure = row["values"].pop("failure", "")
            if failure:
                row.update(status=FAILED, reason=failure)
        except Skip as skip:
            row.update(status=SKIPPED, reason=str(skip))
        except Exception as error:  # kernels, compilers and drivers raise anything
            text = " ".join(str(error).split())[:300]
            row.update(status=FAILED, reason=f"{type(error).__name__}: {text}")
        row["seconds"] = round(time.time() - begin, 2)  # with preparations and compilation
        self._finish(row)
        if row["status"] == FAILED:
            self._after_failure()

    def _finish(self, row: dict) -> None:
        self.save()
        print(f"  {line_of(row, self._section['columns'])}", flush=True)

    def save(self) -> None:
        """Write both files; the JSON is replaced as a whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "results.json.part"
        temporary.write_text(json.dumps(self.state, indent=1))
        os.replace(temporary, self.folder / "results.json")
        (self.folder / "results.md").write_text(markdown(self.state))

    def close_running(self, status: str, reason: str) -> bool:
        """Give the row that was running when a process ended its status; False if none was."""
        rows = [row for section in self.state["sections"] for row in section["rows"] if row["status"] == RUNNING]
        for row in rows:
            row.update(status=status, reason=reason)
            print(f"  {line_of(row, {})}", flush=True)
        self.save()
        return bool(rows)

    def count(self, status: str) -> int:
        """Number of rows with a status."""
        return sum(row["status"] == status for section in self.state["sections"] for row in section["rows"])


def line_of(row: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """One line of text for a row."""
    values = ", ".join(f"{name} {text}" for name, text in _formatted(row, columns).items() if text)
    remark = f"{row['status'].upper()}: {row['reason']}" if row["status"] != DONE else ""
    return f"{row['name']}: " + "; ".join(text for text in (values, remark) if text)


def markdown(state: Mapping[str, Any]) -> str:
    """All sections as Markdown tables."""
    lines = ["# GPU benchmark"]
    for section in state["sections"]:
        columns = section["columns"]
        lines += ["", f"## {section['title']}", "", f"| row | {' | '.join(columns)} | remark |"]
        lines.append("| --- " * (len(columns) + 2) + "|")
        for row in section["rows"]:
            remark = "" if row["status"] == DONE else f"{row['status']}: {row['reason']}"
            cells = [row["name"], *_formatted(row, columns).values(), remark]
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _formatted(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    values = row["values"]
    return {name: form.format(values[name]) if values.get(name) is not None else "" for name, form in columns.items()}
