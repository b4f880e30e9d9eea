"""Rendering of the Shapes world: patterned shapes on textured stuff, with captions. `scene` lists what is difficult."""

from .canvas import Segment
from .dataset import WORLD_VERSION, ShapesSpec, read_manifest, render_image, write_shapes
from .scene import Scene, render_scene

__all__ = [
    "WORLD_VERSION",
    "Scene",
    "Segment",
    "ShapesSpec",
    "read_manifest",
    "render_image",
    "render_scene",
    "write_shapes",
]
