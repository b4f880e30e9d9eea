"""The verb `app`: a web page to try models."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from .command import Command, load_predictor
from .serve import add_server_options, limits_of, model_name

if TYPE_CHECKING:
    from ..predictor import Predictor

_EPILOG = """examples:
  masqclip app
  masqclip app --model photos --port 7860
The page also offers the other models whose files are on this disk (`masqclip models`). Needs
pip install 'masqclip_d2[app]'; docs/web.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_server_options(parser, 7860)


def run(args: argparse.Namespace) -> None:
    from ..optional_packages import require_packages

    require_packages("masqclip app", "app", "gradio", "fastapi", "uvicorn")
    from ..web.models import Models
    from ..web.page import make_page
    from ..web.serving import listening_socket, serve

    limits = limits_of(args)
    with listening_socket(args.host, args.port) as listening:
        predictor = load_predictor(args)
        loaders = {model_name(args): lambda: predictor, **_others(model_name(args))}
        app, is_busy = make_page(Models(loaders, limits.models), limits)
        serve(app, listening, limits, "Web page", is_busy)


def _others(name: str) -> dict[str, Callable[[], Predictor]]:
    """Presets whose files are on this disk."""
    from ..predictor import Predictor
    from ..presets import PRESETS, is_ready

    return {
        preset.name: lambda preset=preset: Predictor.from_pretrained(preset.name)
        for preset in PRESETS.values()
        if preset.name != name and is_ready(preset)
    }


main = Command("app", "Open a web page: upload an image, type categories, see segments.", add_arguments, run, _EPILOG)

if __name__ == "__main__":
    main()
