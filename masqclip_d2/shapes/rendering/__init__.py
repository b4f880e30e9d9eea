"""Rendering of the Shapes world: patterned shapes on textured stuff, with captions. `scene` lists what is difficult."""

from .canvas import Segment
from .captions import describe
from .dataset import DEFAULT_SCALE, WORLD_VERSION, ShapesSpec, read_manifest, render_image, write_shapes
from .frame import Frame
from .scene import Scene, render_portrait, render_scene

__all__ = [
    "DEFAULT_SCALE",
    "WORLD_VERSION",
    "Frame",
    "Scene",
    "Segment",
    "ShapesSpec",
    "describe",
    "read_manifest",
    "render_image",
    "render_portrait",
    "render_scene",
    "write_shapes",
]
