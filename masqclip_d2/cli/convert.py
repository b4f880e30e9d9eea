"""The verb `convert`: weights of any supported source to safetensors."""

from __future__ import annotations

import argparse

from .command import Command, add_import_option

_EPILOG = """examples:
  masqclip convert maskclip.pth maskclip.safetensors --config-file maskclip_r50
  masqclip convert ViT-L-14-336px.pt clip.safetensors
Reads what MODEL.WEIGHTS and MODEL.MASQCLIP.CLIP.NAME read. The tensors keep their dtype (of a CLIP: float32). With
--config-file each name of the file and of that configuration's model must be matched: a name that is missing,
unexpected or of another shape is an error, unless a pattern of checkpoint/sources.py allows it. Without, names are
translated as far as possible without a model.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", help="a file, URL, shipped name, or name of a CLIP such as ViT-L/14@336px")
    parser.add_argument("output", help="the new file, with the suffix .safetensors")
    parser.add_argument("--config-file", help="a YAML file, or the name of a shipped config, that the weights must fit")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    parser.add_argument("--half", action="store_true", help="write float16, half the size")
    parser.add_argument("--without-clip", action="store_true", help="leave out what the config's CLIP.NAME loads")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="overrides of --config-file")
    add_import_option(parser)


def run(args: argparse.Namespace) -> None:
    from ..engine.conversion import convert_checkpoint
    from ..user_code import import_user_code

    import_user_code(args.imports)
    report = convert_checkpoint(
        args.weights,
        args.output,
        args.config_file,
        args.opts,
        overwrite=args.overwrite,
        half=args.half,
        without_clip=args.without_clip,
    )
    print(report)


main = Command(
    "convert",
    "Convert published or own checkpoints to safetensors, with all names reported.",
    add_arguments,
    run,
    _EPILOG,
)

if __name__ == "__main__":
    main()
