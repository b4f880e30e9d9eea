"""The result of one image: segments, and what is made of them: drawings, label maps, files of other tools.

May import `data` (formats of label images) and what lies below it, no model, training or command.
"""

from .segmentation import MIN_INSTANCE_SCORE, RejectedRegion, Segment, Segmentation

__all__ = ["MIN_INSTANCE_SCORE", "RejectedRegion", "Segment", "Segmentation"]
