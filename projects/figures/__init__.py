"""Pictures for README and docs, from models and files to PNG; `python -m projects.figures` makes them all.

What they show are scenes of Shapes, rendered when they are drawn, so no dataset is needed.
"""

from projects.figures.curves import draw_training_curves
from projects.figures.pictures import draw_demo, draw_panoptic, draw_proposals, draw_pseudo_masks, draw_refinement

__all__ = [
    "draw_demo",
    "draw_panoptic",
    "draw_proposals",
    "draw_pseudo_masks",
    "draw_refinement",
    "draw_training_curves",
]
