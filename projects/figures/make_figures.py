"""Draw the figures of README and docs.

Weights are those of `masqclip run-stages` in the output folder, else the shipped ones; metrics for the training curves
are read from the output folder. A figure whose weights or metrics are missing is skipped with a message.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from masqclip_d2.checkpoint.reading import SHIPPED_PREFIX, local_weights_path
from masqclip_d2.cli.command import command
from masqclip_d2.config import load_config
from masqclip_d2.error_report import sentence

# Methods, best first: title, stage of the weights, configuration.
_METHODS = (
    ("MasQCLIP", "masqclip", "shapes/masqclip"),
    ("MaskCLIP", "maskclip", "shapes/maskclip"),
    ("MaskCLIP w/o RMA", "teacher", "shapes/maskclip_worma"),
)
# Title of a diagram of training curves -> folders of its runs.
_CURVES = {
    "tiny CLIP": ("clip_closeups", "clip"),
    "teacher": ("teacher", "teacher_mask_rcnn"),
    "student": ("student/round_1", "student/round_2", "student/round_3"),
    "Relative Mask Attention": ("maskclip", "maskclip_no_refinement"),
    "MasQ-Tuning": ("masqclip", "masqclip_key", "masqclip_value"),
}


class Missing(FileNotFoundError):
    """Weights or metrics of a figure are missing."""


@dataclass(frozen=True)
class Sources:
    """Sources of the figures.

    Args:
        runs: folder of the stages' output folders.
        vocabulary: categories of the figure "demo".
        stuff: which of them are stuff.
    """

    runs: Path
    vocabulary: str
    stuff: str

    def weights(self, stage: str) -> str:
        """The weights of a stage: those in the output folder, else the shipped ones.

        Raises:
            Missing: there are neither.
        """
        trained, shipped = self.runs / stage / "model_final.pth", f"{SHIPPED_PREFIX}shapes_{stage}"
        if trained.is_file():
            return str(trained)
        try:
            local_weights_path(shipped)
        except FileNotFoundError:
            raise Missing(f"there are no weights of stage {stage!r}, neither {trained} nor {shipped}.") from None
        return shipped

    def predictor(self, stage: str, config: str):
        """A model of Shapes with the weights of a stage and the CLIP of the output folder, else the shipped one."""
        from masqclip_d2.predictor import Predictor

        clip = self.runs / "clip" / "clip.safetensors"
        opts = ["MODEL.MASQCLIP.CLIP.NAME", str(clip)] if clip.is_file() else []
        weights = self.weights(stage)
        print(f"  from {weights}" + (f" and {clip}" if opts else ""), flush=True)
        return Predictor(config, weights, opts=opts)

    def method(self):
        """Title and predictor of the best method that has weights.

        Raises:
            Missing: none has.
        """
        for title, stage, config in _METHODS:
            with contextlib.suppress(Missing):
                self.weights(stage)
                return title, self.predictor(stage, config)
        raise Missing(f"there are no weights of the stages {', '.join(stage for _, stage, _ in _METHODS)}.")


def _proposals(sources: Sources, path: Path) -> None:
    from projects.figures import draw_proposals

    draw_proposals(sources.predictor("teacher", "shapes/teacher").model, path)


def _pseudo_masks(sources: Sources, path: Path) -> None:
    from masqclip_d2.losses.pseudo_masks import PseudoMaskRules
    from projects.figures import draw_pseudo_masks

    rules = PseudoMaskRules.from_config(load_config("shapes/student"))
    draw_pseudo_masks(sources.predictor("teacher", "shapes/teacher").model, rules, path)


def _refinement(sources: Sources, path: Path) -> None:
    from projects.figures import draw_refinement

    draw_refinement(sources.predictor("maskclip", "shapes/maskclip").model, path)


def _panoptic(sources: Sources, path: Path) -> None:
    from projects.figures import draw_panoptic

    title, predictor = sources.method()
    draw_panoptic(predictor, title, path)


def _curves(sources: Sources, path: Path) -> None:
    from projects.figures import draw_training_curves

    found = {
        title: {folder: sources.runs / folder / "metrics.json" for folder in folders}
        for title, folders in _CURVES.items()
    }
    found = {title: {name: file for name, file in runs.items() if file.is_file()} for title, runs in found.items()}
    found = {title: runs for title, runs in found.items() if runs}
    if not found:
        raise Missing(f"no folder of a stage in {sources.runs} has a metrics.json.")
    draw_training_curves(found, path)


def _demo(sources: Sources, path: Path) -> None:
    from masqclip_d2.batch.inputs import SAMPLES, find_images
    from masqclip_d2.vocabulary import Vocabulary
    from projects.figures import draw_demo

    if not sources.vocabulary:
        raise Missing("it has no categories: set --vocab.")
    vocabulary = Vocabulary.from_names(sources.vocabulary, sources.stuff)
    images = [image.path for image in find_images([str(SAMPLES)])]
    draw_demo(sources.method()[1], images, vocabulary, path)


FIGURES: dict[str, Callable[[Sources, Path], None]] = {
    "proposals": _proposals,
    "pseudo_masks": _pseudo_masks,
    "refinement": _refinement,
    "panoptic": _panoptic,
    "training_curves": _curves,
    "demo": _demo,
}
"""Name of a figure -> function that draws it; raises `Missing`."""


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m projects.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES), help="these figures; default: all")
    parser.add_argument(
        "--output-root", type=Path, default=Path("output"), help="that of masqclip run-stages; default: %(default)s"
    )
    parser.add_argument("--docs", type=Path, default=Path("docs/figures"), help="folder to write; default: %(default)s")
    parser.add_argument("--vocab", default="", help="categories of the figure 'demo', separated by commas")
    parser.add_argument("--stuff", default="", help="which of them are stuff")
    args = parser.parse_args(argv)
    sources = Sources(args.output_root / "shapes", args.vocab, args.stuff)
    for name in args.only:
        path = args.docs / f"{name}.png"
        print(f"{path}:", flush=True)
        try:
            FIGURES[name](sources, path)
        except Missing as error:
            print(f"  skipped, since {sentence(error)}", flush=True)
