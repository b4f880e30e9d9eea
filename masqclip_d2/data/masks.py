"""Binary masks as COCO's annotation files hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def bbox_xywh(mask: NDArray[np.bool_]) -> list[int]:
    """[x, y, width, height] in pixels of an (H, W) mask that has at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def from_run_length(segmentation: dict[str, Any]) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1, of COCO's run-length encoding, compressed or not."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, *segmentation["size"])
    return coco_mask.decode(segmentation)


def run_length(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run-length encoding of an (H, W) mask: `size` [H, W] and `counts` as text."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
