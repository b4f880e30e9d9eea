"""Checks of files for pre-commit, standard library only: python .ci/check_files.py text|size FILE..."""

import re
import sys
from pathlib import Path

MAX_BYTES = 500_000


def text(path: Path) -> str | None:
    """One newline at the end, no trailing spaces."""
    content = path.read_bytes()
    if re.search(rb"[ \t]+\r?$", content, flags=re.MULTILINE):
        return "has trailing spaces"
    if content and (not content.endswith(b"\n") or content.endswith(b"\n\n")):
        return "must end with exactly one newline"
    return None


def size(path: Path) -> str | None:
    """At most 500 kB."""
    num_bytes = path.stat().st_size
    return f"has {num_bytes / 1000:.0f} kB, the limit is {MAX_BYTES // 1000} kB" if num_bytes > MAX_BYTES else None


CHECKS = {check.__name__: check for check in (text, size)}


def main(words: list[str]) -> int:
    """Print one line per file that fails; the exit code."""
    check, *names = words
    failures = [f"{name} {message}" for name in names if (message := CHECKS[check](Path(name)))]
    print("\n".join(failures), end="\n" if failures else "")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
