"""What notebooks show of a result: a picture, and a table of its segments."""

from __future__ import annotations

import base64
import html

from PIL import Image

from ..files import png_bytes
from .colors import instance_colors
from .segmentation import Segmentation

_MAX_SIDE = 900  # pixels of the picture; notebooks store it
_MAX_ROWS = 30


def as_png(result: Segmentation) -> bytes:
    """The visualization with a legend as a PNG file of moderate size."""
    image = Image.fromarray(result.draw(legend=True))
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return png_bytes(image)


def as_html(result: Segmentation) -> str:
    """The picture and a table of the segments, best first; names of categories are escaped."""
    picture = base64.b64encode(as_png(result)).decode("ascii")
    colors = instance_colors(result.vocabulary, [segment.category_id for segment in result.segments])
    rows = sorted(zip(result.segments, colors, strict=True), key=lambda row: -row[0].score)
    cells = []
    for segment, color in rows[:_MAX_ROWS]:
        x1, y1, x2, y2 = segment.box_xyxy
        mark = f'<td style="background: rgb{color}; width: 1em"></td>'
        kind = "thing" if segment.isthing else "stuff"
        values = (html.escape(segment.label), kind, f"{segment.score:.2f}", segment.area, f"{x1}, {y1}, {x2}, {y2}")
        cells.append(f"<tr>{mark}{''.join(f'<td>{value}</td>' for value in values)}</tr>")
    more = f"<p>and {len(rows) - _MAX_ROWS} more segments</p>" if len(rows) > _MAX_ROWS else ""
    head = "".join(f"<th>{name}</th>" for name in ("", "category", "kind", "score", "area", "box"))
    return (
        f'<div><p>{html.escape(repr(result))}</p><img src="data:image/png;base64,{picture}" alt="segments">'
        f"<table><tr>{head}</tr>{''.join(cells)}</table>{more}</div>"
    )
