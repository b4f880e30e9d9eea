"""The command `masqclip VERB`, which is also `python -m masqclip_d2 VERB`."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence

from .. import __version__
from . import (
    app,
    check_data,
    convert,
    demo,
    doctor,
    download,
    evaluate_predictions,
    export,
    label,
    make_shapes,
    models,
    prepare,
    run_stages,
    serve,
    train,
    vocabulary,
)

COMMANDS = {
    module.main.name: module.main
    for module in (
        train,
        demo,
        doctor,
        check_data,
        prepare,
        make_shapes,
        run_stages,
        evaluate_predictions,
        convert,
        export,
        label,
        app,
        serve,
        vocabulary,
        models,
        download,
    )
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the verb that the first argument names; the other arguments are the verb's."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not words or words[0].startswith("-"):
        parser.parse_args(words)
        parser.print_help()
        return
    verb, *rest = words
    if verb not in COMMANDS:
        near = difflib.get_close_matches(verb, COMMANDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known verbs: {', '.join(COMMANDS)}."
        parser.error(f"there is no verb {verb!r}. {hint}")
    COMMANDS[verb](rest, prog=f"{parser.prog} {verb}")


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="masqclip",
        usage="masqclip VERB ...",
        description="Open-vocabulary segmentation with MaskCLIP and MasQCLIP.",
        epilog="\n".join(["verbs:", *lines, "", "`masqclip VERB --help` describes the arguments of a verb."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"masqclip_d2 {__version__}")
    return parser
