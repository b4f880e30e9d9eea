"""Figures of README and docs, drawn as PNG files from weights and metrics: `python -m projects.figures`.

They show scenes of Shapes, rendered when they are drawn, so that no dataset is needed.
"""

from projects.figures.curves import draw_training_curves
from projects.figures.predictions import draw_demo, draw_panoptic, draw_proposals, draw_pseudo_masks, draw_refinement

__all__ = [
    "draw_demo",
    "draw_panoptic",
    "draw_proposals",
    "draw_pseudo_masks",
    "draw_refinement",
    "draw_training_curves",
]
