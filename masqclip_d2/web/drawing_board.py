"""What the drawing board accepts: Gradio opens any format of any size, and keeps any number of drawings."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image_files import opened_image, upright_pixels
from ..optional_packages import optional_package
from .limits import Limits

_MEGAPIXELS = 25  # of a layer
_MAX_LAYERS = 8
_MAX_DRAWINGS = 256  # that were sent, and wait for their request
_UPLOADS = 4  # these drawings together: times the limit of one upload


def protect_board(board: Any, limits: Limits) -> None:
    """Let an ImageEditor decode layers by this package's reader, and hold a bounded amount of drawings."""
    gr, accept = optional_package("gradio"), board.accept_blobs

    def layer_pixels(file: Any, flatten_on_white: bool = False) -> NDArray[np.uint8] | None:
        if file is None or flatten_on_white:  # background and composite are not used
            return None
        source = file.path if hasattr(file, "path") else io.BytesIO(file)
        try:
            with opened_image(source, "The drawing", _MEGAPIXELS) as image:
                return np.asarray(upright_pixels(image).convert("RGBA"))
        except (ValueError, OSError):
            raise gr.Error("The drawing cannot be read; draw again.", print_exception=False) from None

    def accept_blobs(data: Any) -> Any:
        index = data.data.get("index")
        if index and index != "null" and not 0 <= int(index) < _MAX_LAYERS:
            raise gr.Error("The drawing has too many layers.", print_exception=False)
        found = accept(data)
        drawings = board.blob_storage
        while len(drawings) > _MAX_DRAWINGS or sum(map(_num_bytes, list(drawings.values()))) > _most_bytes(limits):
            drawings.pop(next(iter(drawings)), None)
        return found

    accept_blobs._is_server_fn = True  # pyright: ignore[reportFunctionMemberAccess]
    board.convert_and_format_image, board.accept_blobs = layer_pixels, accept_blobs
    preprocess = board.preprocess

    def checked(payload: Any) -> Any:
        if len(getattr(payload, "layers", None) or ()) > _MAX_LAYERS:
            raise gr.Error("The drawing has too many layers.", print_exception=False)
        return preprocess(payload)

    board.preprocess = checked


def _most_bytes(limits: Limits) -> int:
    return _UPLOADS * limits.upload_bytes


def _num_bytes(drawing: Any) -> int:
    return sum(len(part) for part in (drawing.background, drawing.composite, *drawing.layers) if part)
