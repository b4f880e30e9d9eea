"""Pages of the site from notebooks with their stored outputs."""

from __future__ import annotations

import json
from typing import Any


def notebook_markdown(text: str, name: str) -> str:
    """A notebook as Markdown: its text, its code, what the code has printed, and its pictures.

    Args:
        text: content of the notebook's file, whose first cell begins with a heading.
        name: path of the notebook in the repository, which the page tells below its heading.
    """
    cells = json.loads(text)["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts.append(f"```python\n{source}\n```")
            parts += [_output(output) for output in cell["outputs"]]
    heading, _, rest = parts[0].partition("\n")
    parts[0] = f"{heading}\n\nThis page is a notebook with its outputs, `{name}` in the repository.\n{rest}"
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return "".join(data["text/html"])
    if "image/jpeg" in data:
        return f'<div><img src="data:image/jpeg;base64,{data["image/jpeg"]}" alt="picture"></div>'
    return f"```text\n{''.join(output.get('text') or data['text/plain']).rstrip()}\n```"
