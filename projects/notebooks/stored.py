"""What stored notebooks must not have: failed cells, old outputs, warnings, paths of a machine, too many bytes."""

from __future__ import annotations

import json
import re

MAX_BYTES = 400_000
_NOISE = {
    "a path of a machine": re.compile(r"(?<![\w:./])/(?:home|mnt|opt|root|tmp|usr|var|work|Users|content)/[^\s\"']+"),
    "a warning": re.compile(r"\b\w{0,60}Warning\b|\bWARNING\b|^warning:", flags=re.MULTILINE),
    "an error": re.compile(r"Traceback \(most recent call last\)|^error:", flags=re.MULTILINE),
}


def faults(text: str) -> list[str]:
    """One sentence for each fault of a notebook's file; an empty list if it may be stored."""
    size = len(text.encode())
    found = [f"It has {size / 1000:.0f} kB, the limit is {MAX_BYTES // 1000} kB."] if size > MAX_BYTES else []
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    if [cell["execution_count"] for cell in code] != [*range(1, len(code) + 1)]:
        found.append("Its cells were not run once, from the first to the last.")
    for number, cell in enumerate(code, start=1):
        for output in cell["outputs"]:
            if output["output_type"] == "error" or output.get("name") == "stderr":
                found.append(f"Cell {number} has an output of errors.")
            printed = "".join(output.get("text", "")) + "".join(output.get("data", {}).get("text/plain", ""))
            found += [f"Cell {number} prints {what}: {hit[0]}" for what, noise in _NOISE.items()
                      if (hit := noise.search(printed))]  # fmt: skip
    return found
