"""`supervision.Detections` of a result."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...optional_packages import require_packages
from ..segmentation import Segmentation


def to_detections(result: Segmentation) -> Any:
    """See `Segmentation.to_supervision`."""
    require_packages("to_supervision()", "supervision", "supervision")
    import supervision

    found = result.segments
    hw = result.image.shape[:2]
    return supervision.Detections(
        xyxy=np.array([segment.box_xyxy for segment in found], dtype=np.float32).reshape(-1, 4),
        mask=np.stack([segment.mask for segment in found]) if found else np.zeros((0, *hw), dtype=bool),
        confidence=np.array([segment.score for segment in found], dtype=np.float32),
        class_id=np.array([segment.category_id for segment in found], dtype=int),
        data={"class_name": np.array([segment.label for segment in found], dtype=str)},
    )
