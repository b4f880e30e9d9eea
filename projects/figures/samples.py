"""The sample images of the package and the category names of the demo: `python -m projects.figures.samples`.

They are chosen by a rule that was written before any model saw them, not by how well a model does: of the validation
scenes of seed 4, which no training and no table uses, the first four with two to four things, all of them at least 32
units long. The category names are those that occur in the four images. The command writes the images and prints the
names, which the Makefile has too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from masqclip_d2.batch.inputs import SAMPLES
from masqclip_d2.cli.command import command
from masqclip_d2.files import save_image
from masqclip_d2.shapes.rendering import Scene
from projects.figures.scenes import first_scenes, things

NUM_SAMPLES = 4
SEED = 4
MIN_SIZE = 32  # units, longer side of every thing


def sample_scenes() -> list[Scene]:
    """The scenes of the sample images."""
    return first_scenes(NUM_SAMPLES, "val", _is_sample, seed=SEED)


def _is_sample(scene: Scene) -> bool:
    sizes = [segment.object_size for segment in scene.segments if segment.category.isthing]
    return 2 <= len(sizes) <= 4 and min(sizes) >= MIN_SIZE


def vocabulary(scenes: list[Scene]) -> tuple[str, str]:
    """Names of the things and of the stuff that occur, comma-separated, in order of appearance."""
    stuff = dict.fromkeys(s.category.name for scene in scenes for s in scene.segments if not s.category.isthing)
    names = dict.fromkeys(category.name for scene in scenes for category in things(scene))
    return ",".join(names), ",".join(stuff)


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m projects.figures.samples", description=__doc__)
    parser.add_argument("--output", type=Path, default=SAMPLES, help="folder of the images; default: %(default)s")
    args = parser.parse_args(argv)
    found = sample_scenes()
    for number, scene in enumerate(found, start=1):
        save_image(args.output / f"shapes_{number}.png", scene.image)
    names, stuff = vocabulary(found)
    print(f"VOCABULARY := {names}\nSTUFF := {stuff}")


if __name__ == "__main__":
    main()
