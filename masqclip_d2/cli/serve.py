"""The verb `serve`: an HTTP service, image and categories to masks."""

from __future__ import annotations

import argparse

from .command import Command, add_model_options, add_override_options, add_precision_options, load_predictor

_EPILOG = """examples:
  masqclip serve --model photos --port 8000
  curl -F image=@photo.jpg -F categories="dog,ball" -F stuff="grass" http://127.0.0.1:8000/segment
  curl -F image=@photo.jpg -F categories="dog,ball" -F format=overlay -o overlay.png http://127.0.0.1:8000/segment
Endpoints are described at http://127.0.0.1:8000/docs. Needs pip install 'masqclip_d2[serve]'; docs/web.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_server_options(parser, 8000)
    parser.add_argument(
        "--batch-size", type=int, default=8, metavar="N",
        help="waiting requests that share passes of the networks; default: %(default)s",
    )  # fmt: skip


def add_server_options(parser: argparse.ArgumentParser, port: int) -> None:
    """Add the options that the page and the service share."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: %(default)s, this machine")
    parser.add_argument("--port", type=int, default=port, help="0: a free one; default: %(default)s")
    add_model_options(parser)
    add_precision_options(parser)
    parser.add_argument("--max-upload-mb", type=float, default=50, metavar="MB", help="default: %(default)s")
    parser.add_argument(
        "--max-megapixels", type=float, default=50, metavar="MP", help="of an image; default: %(default)s"
    )
    parser.add_argument("--max-categories", type=int, default=2000, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--max-queue", type=int, default=256, metavar="N", help="requests that may wait; default: %(default)s"
    )
    parser.add_argument(
        "--max-wait", type=float, default=120, metavar="SECONDS", help="for its turn; default: %(default)s"
    )
    parser.add_argument(
        "--cache-mb", type=float, default=1000, metavar="MB",
        help="memory for encoded images, whose categories change at once; default: %(default)s",
    )  # fmt: skip
    add_override_options(parser)


def limits_of(args: argparse.Namespace, **others):
    """`web.limits.Limits` of the options."""
    from ..web.limits import Limits

    return Limits(
        upload_mb=args.max_upload_mb,
        megapixels=args.max_megapixels,
        categories=args.max_categories,
        queue=args.max_queue,
        wait_s=args.max_wait,
        cache_mb=args.cache_mb,
        **others,
    )


def model_name(args: argparse.Namespace) -> str:
    """What the model of the options is called."""
    from ..presets import DEFAULT_PRESET

    return args.model or args.config_file or DEFAULT_PRESET


def run(args: argparse.Namespace) -> None:
    from ..optional_packages import require_packages

    require_packages("masqclip serve", "serve", "fastapi", "fastapi_offline", "uvicorn", "multipart")
    from ..web.models import Models
    from ..web.service import make_service
    from ..web.serving import listening_socket, serve

    limits = limits_of(args, batch=args.batch_size)
    with listening_socket(args.host, args.port) as listening:
        predictor = load_predictor(args)
        app = make_service(Models({model_name(args): lambda: predictor}, 1), limits)
        serve(app, listening, limits, "Service")


main = Command("serve", "Answer HTTP requests: an image and categories in, masks out.", add_arguments, run, _EPILOG)

if __name__ == "__main__":
    main()
