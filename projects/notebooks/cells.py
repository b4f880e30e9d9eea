"""Execution of the code cells of a notebook in one namespace."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import subprocess
import sys
from typing import Any

from .outputs import display_output, stream_output

# A command of a shell, "!masqclip ..." or "lines = !masqclip ...", with continued lines.
_COMMAND = re.compile(r"^(?:(\w+) = )?!((?:.*\\\n)*.*)$", flags=re.MULTILINE)


class CellRunner:
    """Runs cells one after another. As in IPython, `display` shows a value, and so does an expression at the end.

    Standard output and shown values become outputs; warnings and errors go to this process's standard error.

    Args:
        namespace: the variables of the cells.
    """

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {"__name__": "__main__", "display": self._display, "_run": self._run_command}
        self.count = 0
        self._outputs: list[dict[str, Any]] = []
        self._printed = io.StringIO()

    def run(self, source: str) -> list[dict[str, Any]]:
        """Run a cell.

        Returns:
            Its outputs in the notebook format.

        Raises:
            RuntimeError: the cell has failed; the cause is the exception.
        """
        self.count += 1
        self._outputs = []
        try:
            tree = ast.parse(_COMMAND.sub(_call_of_command, source))
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            with contextlib.redirect_stdout(self._printed):
                exec(compile(tree, f"<cell {self.count}>", "exec"), self.namespace)
                value = None
                if isinstance(last, ast.Expr) and not source.rstrip().endswith(";"):
                    value = eval(compile(ast.Expression(last.value), f"<cell {self.count}>", "eval"), self.namespace)
        except Exception as error:
            raise RuntimeError(f"Cell {self.count} has failed: {type(error).__name__}: {error}\n{source}") from error
        self._flush()
        if value is not None:
            self._outputs.append(display_output(value, self.count))
        return self._outputs

    def _display(self, *values: Any) -> None:
        self._flush()
        self._outputs += [display_output(value) for value in values]

    def _flush(self) -> None:
        text = self._printed.getvalue()
        if text:
            self._outputs.append(stream_output(text))
        self._printed.seek(0)
        self._printed.truncate()

    def _run_command(self, command: str, is_kept: bool) -> list[str] | None:
        """Run a command, without a shell; its lines are printed, or returned if they are kept."""
        words = shlex.split(command)
        if words[0] == "masqclip":
            words[:1] = [sys.executable, "-m", "masqclip_d2"]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
        if is_kept:
            return done.stdout.splitlines()
        print(done.stdout, end="")
        return None


def _call_of_command(match: re.Match) -> str:
    variable, command = match.groups()
    joined = re.sub(r"\\\n\s*", " ", command).strip()
    return f"{variable} = _run({joined!r}, True)" if variable else f"_run({joined!r}, False)"
