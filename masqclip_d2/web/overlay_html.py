"""A result as HTML without scripts: the image as SVG whose segments react to pointer and keyboard, and a table.

Names are those of visitors; all of them are escaped. The styles are in `STYLES`.
"""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..results import Segment, Segmentation
from ..results.colors import instance_colors
from ..results.polygons import pixel_edges

_LONGEST = 1200  # pixels of the shown image
_TOLERANCE = 0.4  # pixels of the shown image
_MAX_SEGMENTS = 100  # drawn and listed
_NAMED = 0.01  # share of the image from which on a segment has its name on it
_MAX_NAME = 60  # characters

STYLES = """
.mq svg{width:100%;height:auto;max-height:75vh;display:block;background:#0001}
.mq .seg{cursor:pointer;outline:none}
.mq .seg path{fill-opacity:.45;stroke-width:1.5;stroke-opacity:.9;vector-effect:non-scaling-stroke}
.mq .seg text{fill:#fff;stroke:#000c;stroke-width:.2em;paint-order:stroke;text-anchor:middle;font-family:sans-serif;
pointer-events:none}
.mq .seg .tip{visibility:hidden}
.mq svg:has(.seg:hover) .seg:not(:hover) path,.mq svg:has(.seg:focus) .seg:not(:focus) path{fill-opacity:.12}
.mq svg:has(.seg:hover) .seg:not(:hover) .tag,.mq svg:has(.seg:focus) .seg:not(:focus) .tag{visibility:hidden}
.mq .seg:is(:hover,:focus) path{fill-opacity:.7;stroke:#fff;stroke-width:3}
.mq .seg:is(:hover,:focus) .tip{visibility:visible}
.mq .seg:is(:hover,:focus) .tag{visibility:hidden}
.mq .views{display:flex;gap:1.2em;margin-bottom:.5em;flex-wrap:wrap}
.mq .views label{cursor:pointer}
.mq .views input{margin-right:.4em}
.mq .coarse{display:none}
.mq:has(.show-coarse:checked) .coarse{display:block}
.mq:has(.show-coarse:checked) .refined{display:none}
.mq .rows{overflow-x:auto;margin-top:.8em}
.mq table{border-collapse:collapse;width:100%}
.mq table :is(th,td){padding:.3em .6em;text-align:left;border:0;border-bottom:1px solid #8884;vertical-align:top}
.mq table :is(th,td).number{text-align:right}
.mq .number{font-variant-numeric:tabular-nums;white-space:nowrap}
.mq tr:hover td{background:#8882}
.mq .dot{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.5em;border:1px solid #0006}
.mq p{margin:.6em 0}
"""


def result_html(result: Segmentation, coarse: Segmentation | None = None, notes: str = "") -> str:
    """The image with its segments, and a table of them.

    Args:
        result: the result.
        coarse: the same with the masks before refinement; a switch shows one or the other.
        notes: further HTML below.
    """
    segments = result.drawn_segments()[:_MAX_SEGMENTS]
    pictures = f'<div class="refined">{_picture(result, segments)}</div>'
    switch = ""
    if coarse is not None:
        before = coarse.drawn_segments()[:_MAX_SEGMENTS]
        pictures += f'<div class="coarse">{_picture(coarse, before)}</div>'
        switch = (
            '<div class="views" role="radiogroup" aria-label="Masks">'
            '<label><input type="radio" name="mq-view" checked>Refined masks</label>'
            '<label><input type="radio" name="mq-view" class="show-coarse">Coarse masks</label></div>'
        )
    return f'<div class="mq">{switch}{pictures}{_table(result, segments)}{_rejected(result)}{notes}</div>'


def message_html(text: str) -> str:
    """A sentence in place of a result."""
    return f'<div class="mq"><p>{escape(text)}</p></div>'


def table_html(caption: str, heads: list[str], rows: list[list[str]]) -> str:
    """A table of texts, whose columns after the first one are numbers."""

    def row_html(tag: str, texts: list[str]) -> str:
        cells = (f"<{tag}{_NUMBER if index else ''}>{escape(text)}</{tag}>" for index, text in enumerate(texts))
        return f"<tr>{''.join(cells)}</tr>"

    body = row_html("th", heads) + "".join(row_html("td", row) for row in rows)
    return f'<div class="rows"><table><caption>{escape(caption)}</caption>{body}</table></div>'


_NUMBER = ' class="number"'


def short(name: str) -> str:
    """A name of at most 60 characters."""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 3]}..."


def _picture(result: Segmentation, segments: list[Segment]) -> str:
    height, width = result.image.shape[:2]
    scale = min(1.0, _LONGEST / max(height, width))
    shown_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
    colors = instance_colors(result.vocabulary, [segment.category_id for segment in segments])
    parts = [
        _segment(number, segment, color, shown_hw)
        for number, (segment, color) in enumerate(zip(segments, colors, strict=True), start=1)
    ]
    width, height = shown_hw[1], shown_hw[0]
    shown = f'<image href="{_data_url(result.image, shown_hw)}" width="{width}" height="{height}"/>{"".join(parts)}'
    label = f"Image with {len(segments)} segments"
    return f'<svg viewBox="0 0 {width} {height}" role="group" aria-label="{label}">{shown}</svg>'


def _segment(number: int, segment: Segment, color: tuple[int, int, int], shown_hw: tuple[int, int]) -> str:
    import cv2

    height, width = shown_hw
    mask = segment.mask
    if mask.shape != shown_hw:
        mask = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA) > 0
    outlines = [outline for part in pixel_edges(mask, _TOLERANCE) for outline in (part.outline, *part.holes)]
    path = "".join("M" + "L".join(f"{x:.4g},{y:.4g}" for x, y in outline) + "Z" for outline in outlines)
    share = segment.area / segment.mask.size
    x, y = _inside(mask)
    size = max(shown_hw) / 28
    half = min(0.3 * size * len(short(segment.label)), width / 2)  # of the name's width, about
    x = round(min(max(x, half), width - half))
    about = f"{segment.label}, score {segment.score:.0%}, {share:.1%} of the image"
    name, rgb = escape(short(segment.label)), "rgb({},{},{})".format(*color)
    texts = f'<text class="tip" x="{x}" y="{y + size / 3:.4g}" font-size="{size:.4g}">{name} {segment.score:.0%}</text>'
    if share >= _NAMED:
        texts = f'<text class="tag" x="{x}" y="{y + size / 3:.4g}" font-size="{size:.4g}">{name}</text>' + texts
    return (
        f'<g class="seg" data-n="{number}" tabindex="0" role="img" aria-label="{escape(about)}">'
        f'<path d="{path}" fill="{rgb}" stroke="{rgb}" fill-rule="evenodd"/>{texts}</g>'
    )


def _inside(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """(x, y) of a pixel far from the boundary of the mask."""
    import cv2

    padded = np.pad(mask.astype(np.uint8), 1)
    y, x = np.unravel_index(int(cv2.distanceTransform(padded, cv2.DIST_L2, 3).argmax()), padded.shape)
    return int(x) - 1, int(y) - 1


def _data_url(image: NDArray[np.uint8], shown_hw: tuple[int, int]) -> str:
    picture, buffer = Image.fromarray(image), io.BytesIO()
    if picture.size != (shown_hw[1], shown_hw[0]):
        picture = picture.resize((shown_hw[1], shown_hw[0]), Image.Resampling.BILINEAR, reducing_gap=2)
    picture.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _table(result: Segmentation, segments: list[Segment]) -> str:
    if not segments:
        names = ", ".join(short(name) for name in result.vocabulary.names[:10])
        return f"<p>None of these was found: {escape(names)}{' ...' if len(result.vocabulary) > 10 else ''}.</p>"
    colors = instance_colors(result.vocabulary, [segment.category_id for segment in segments])
    rows = []
    for number, (segment, color) in enumerate(zip(segments, colors, strict=True), start=1):
        left, top, right, bottom = segment.box_xyxy
        dot = '<span class="dot" style="background:rgb({},{},{})"></span>'.format(*color)
        rows.append(
            f'<tr data-n="{number}"><td>{dot}{escape(short(segment.label))}</td>'
            f"<td>{'thing' if segment.isthing else 'stuff'}</td>"
            f'<td class="number">{segment.score:.0%}</td>'
            f'<td class="number">{segment.area / segment.mask.size:.1%}</td>'
            f'<td class="number">{left}, {top}, {right}, {bottom}</td></tr>'
        )
    more = len(result.segments) - len(segments)
    note = f"<p>{more} more with lower scores are in the JSON file.</p>" if more else ""
    return (
        f'<div class="rows"><table><tr><th scope="col">Category</th><th scope="col">Kind</th>'
        f'<th scope="col"{_NUMBER}>Score</th><th scope="col"{_NUMBER}>Area</th>'
        f'<th scope="col"{_NUMBER}>Box: left, top, right, bottom</th></tr>{"".join(rows)}</table></div>{note}'
    )


def _rejected(result: Segmentation) -> str:
    if not result.rejected:
        return ""
    by_area = sorted(result.rejected, key=lambda region: -region.area)
    prompts = list(dict.fromkeys(region.prompt for region in by_area))
    return f"<p>Without a label, since other names fit better: {escape(', '.join(prompts[:10]))}.</p>"
