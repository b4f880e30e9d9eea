"""The verb `download`: weights from their servers to this disk, beforehand."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ..error_report import error_report
from .command import Command

if TYPE_CHECKING:
    from ..hub import WeightFile

_EPILOG = """examples:
  masqclip download photos
  masqclip download ViT-L/14@336px
  masqclip download open_clip:ViT-B-16/laion2b_s34b_b88k hf://OWNER/REPO/model.safetensors
  masqclip download detectron2://ImageNetPretrained/torchvision/R-50.pkl
  masqclip download maskclip_r50
A file that is on this disk is checked again: its sha256 must be the published one, or the one recorded before. Files
are stored in the folder MASQCLIP_CACHE (default: masqclip_d2/weights in the user's cache folder). An interrupted
download is resumed by the same command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="+", metavar="NAME",
        help="a model (see `masqclip models`); name of a CLIP (ViT-L/14@336px, open_clip:MODEL/TAG); a source: "
        "https://..., hf://OWNER/REPO/FILE[@REVISION], detectron2://...; or a configuration, for all that its model "
        "downloads",
    )  # fmt: skip
    parser.add_argument(
        "--again", action="store_true", help="replace files that are there; a failure leaves the old ones"
    )


def run(args: argparse.Namespace) -> None:
    files: dict[str, WeightFile] = {}
    failures: dict[str, Exception] = {}
    for name in args.names:
        try:
            files.update((file.name, file) for file in weight_files(name))
        except (ValueError, FileNotFoundError) as error:
            failures[name] = error
    for file in files.values():
        try:
            print(_fetched(file, args.again))
        except (ValueError, OSError) as error:
            failures[file.name] = error
    total = len(files) + len(failures.keys() - files.keys())
    if total == 1 and failures:
        raise next(iter(failures.values()))
    for error in failures.values():
        print(error_report(error), end="", file=sys.stderr)
    if failures:
        rest = " The others are there." if len(failures) < total else ""
        raise ValueError(f"{len(failures)} of {total} failed: {', '.join(failures)}.{rest}")


def weight_files(name: str) -> list[WeightFile]:
    """The files that a name means, for a configuration all that its model needs; ValueError if it means none."""
    from ..clip.pretrained import OPENAI_MODELS, weight_file
    from ..config import find_config, load_config
    from ..meta_arch.required_weights import required_weights
    from ..presets import PRESETS, preset_weights

    if name in PRESETS:
        return [each.file for each in preset_weights(PRESETS[name]) if each.file is not None]

    file = weight_file(name)
    if file is not None:
        return [file]
    try:
        find_config(name)
    except FileNotFoundError as error:
        raise ValueError(
            f"{name!r} is neither a configuration nor a file on a server; expected the name of a CLIP "
            f"({', '.join(OPENAI_MODELS)}, open_clip:MODEL/TAG), a source (https://..., hf://OWNER/REPO/FILE, "
            "detectron2://...) or a configuration that names such."
        ) from error
    files = [each.file for each in required_weights(load_config(name)) if each.file is not None]
    if not files:
        raise ValueError(f"The configuration {name} names no weights that are downloaded.")
    return files


def _fetched(file: WeightFile, again: bool) -> str:
    """Download a file, or check it if it is there; returns one line about it."""
    from ..hub import format_size, sha256_of

    path = None if again else file.find(thorough=True)
    state = "downloaded" if path is None else "was on this disk"
    if path is None:
        path = file.fetch(again)
    return f"{path}: {format_size(path.stat().st_size)}, {state}, sha256 {sha256_of(path)}"


main = Command("download", "Download weights beforehand, or check those on this disk.", add_arguments, run, _EPILOG)

if __name__ == "__main__":
    main()
