"""The verb `export`: a model as ONNX files or torch.export programs, for programs without this package."""

from __future__ import annotations

import argparse

from .command import Command, add_model_options, add_override_options

_EPILOG = """examples:
  masqclip export --output output/export --vocab "striped circle,dotted star" --stuff "grass,water"
  masqclip export --model photos --parts whole --weight-dtype fp16 --vocab-file coco_panoptic/openseg
  masqclip export --parts classifier --formats onnx pt2
Parts: proposer (image -> masks), classifier (image, masks, text embeddings -> class logits), whole (image, text
embeddings -> masks, class logits). Sizes of the image, number of masks and of categories are free. docs/export.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="output/export", help="folder; default: %(default)s")
    parser.add_argument(
        "--parts", nargs="+", default=["proposer", "classifier", "whole"], metavar="PART",
        help="proposer, classifier, whole; default: all three",
    )  # fmt: skip
    parser.add_argument(
        "--formats", nargs="+", default=["onnx"], metavar="FORMAT", help="onnx, pt2 (torch.export); default: onnx"
    )
    parser.add_argument(
        "--weight-dtype", default="fp32", metavar="DTYPE",
        help="how weights are stored: fp32, bf16, fp16 or int8; computations stay in float32; default: fp32",
    )  # fmt: skip
    vocabulary = parser.add_mutually_exclusive_group()
    vocabulary.add_argument("--vocab", help="category names; their text embeddings become vocabulary.npz")
    vocabulary.add_argument(
        "--vocab-file", metavar="FILE_OR_NAME", help="a vocabulary file or a shipped vocabulary, in place of --vocab"
    )
    parser.add_argument("--stuff", default="", help="which categories of --vocab are stuff")
    parser.add_argument(
        "--vocabulary-only",
        action="store_true",
        help="write vocabulary.npz alone, for a model that is exported already",
    )
    add_model_options(parser)
    add_override_options(parser)


def run(args: argparse.Namespace) -> None:
    from ..export import check_settings, export_model
    from ..hub import format_size
    from ..predictor import Predictor
    from ..presets import DEFAULT_PRESET, PRESETS
    from ..user_code import import_user_code
    from ..vocabulary import Vocabulary, load_vocabulary

    parts = [] if args.vocabulary_only else args.parts
    check_settings(parts, args.formats, args.weight_dtype)
    if args.stuff and args.vocab is None:
        raise ValueError("--stuff needs --vocab; vocabulary files mark their stuff (isthing).")
    vocabulary = None
    if args.vocab is not None:
        vocabulary = Vocabulary.from_names(args.vocab, args.stuff)
    elif args.vocab_file is not None:
        vocabulary = load_vocabulary(args.vocab_file)
    elif args.vocabulary_only:
        raise ValueError("--vocabulary-only needs categories: --vocab or --vocab-file.")
    import_user_code(args.imports)
    name, licenses = args.config_file or args.model or DEFAULT_PRESET, {}
    if args.config_file is None:
        if name in PRESETS:
            licenses = {"masks": PRESETS[name].license, "clip": PRESETS[name].clip_license}
        predictor = Predictor.from_pretrained(name, args.weights, device="cpu", opts=args.opts)
    else:
        predictor = Predictor(name, args.weights, device="cpu", opts=args.opts)
    files = export_model(
        predictor, args.output, parts, args.formats, args.weight_dtype, vocabulary, name, licenses
    )  # fmt: skip
    for file in files:
        print(f"{file}: {format_size(file.stat().st_size)}")


main = Command(
    "export", "Export a model to ONNX or torch.export, to run without this package.", add_arguments, run, _EPILOG
)

if __name__ == "__main__":
    main()
