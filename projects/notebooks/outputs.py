"""Outputs of cells in the notebook format; pictures are stored as small JPEG files."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

from PIL import Image

_MAX_SIZE = (960, 420)  # pixels (width, height) of stored pictures
_QUALITY = 80  # of JPEG
_DATA_URI = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


def stream_output(text: str) -> dict[str, Any]:
    """Printed text."""
    return {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}


def display_output(value: Any, count: int | None = None) -> dict[str, Any]:
    """A value as HTML or a picture, if it has such a form, and as text.

    Args:
        count: number of the cell if the value is its result; None: the value was displayed.
    """
    text = re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(value))
    data: dict[str, Any] = {"text/plain": text.splitlines(keepends=True)}
    if hasattr(value, "_repr_html_"):
        html = _DATA_URI.sub(_small_uri, value._repr_html_())
        data["text/html"] = html.splitlines(keepends=True)
    elif hasattr(value, "_repr_png_"):
        data["image/jpeg"] = _small_picture(value._repr_png_())
    if count is None:
        return {"output_type": "display_data", "data": data, "metadata": {}}
    return {"output_type": "execute_result", "execution_count": count, "data": data, "metadata": {}}


def _small_uri(match: re.Match) -> str:
    return f"data:image/jpeg;base64,{_small_picture(base64.b64decode(match[1]))}"


def _small_picture(png: bytes) -> str:
    """A picture of at most `_MAX_SIZE` as JPEG in base64."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail(_MAX_SIZE)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
