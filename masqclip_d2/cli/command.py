"""What all commands share: arguments, registration, and user errors as one line instead of a traceback."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..error_report import error_report, is_user_error
from ..processes import CLOSED_PIPE, exit_interrupted, stoppable

if TYPE_CHECKING:
    from ..predictor import Predictor


def command(main: Callable) -> Callable:
    """Decorate a main function: user errors are printed, see `error_report`, and end the process with exit code 1.

    MASQCLIP_DEBUG=1 also prints the whole traceback. A reader of the output that stops reading (`| head`) ends the
    process without a message, with exit code 141 as for other programs.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        try:
            with stoppable():
                _print_everything()
                threading.excepthook = _report_error_of_thread
                result = main(*args, **kwargs)
                if sys.stdout is not None:
                    sys.stdout.flush()
                return result
        except BrokenPipeError:
            _discard_output()
            sys.exit(CLOSED_PIPE)
        except Exception as error:
            if not is_user_error(error):
                raise
            if os.environ.get("MASQCLIP_DEBUG", "0") not in ("", "0"):
                traceback.print_exc()
            print(error_report(error), end="", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt as interrupt:
            exit_interrupted(interrupt)

    return wrapper


def _report_error_of_thread(details: threading.ExceptHookArgs) -> None:
    """As for the command itself, such as a full disk while TensorBoard's thread writes."""
    if details.exc_value is not None and is_user_error(details.exc_value):
        print(error_report(details.exc_value), end="", file=sys.stderr)
    else:
        threading.__excepthook__(details)


def _print_everything() -> None:
    """Names with characters that the terminal's encoding lacks are printed with escapes."""
    for stream in (sys.stdout, sys.stderr):  # None if it is closed; a test may put another object there
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Send what is still buffered nowhere: writing it at exit would fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True)
class Command:
    """One verb of `masqclip`. Calling it parses the arguments and runs it.

    Modules that define a command import nothing heavy at the top, so that --help needs no PyTorch.

    Args:
        name: the verb.
        summary: one line, for both help texts.
        add_arguments: adds the arguments to a parser.
        run: takes the parsed arguments.
        epilog: examples and notes below the help text.
        intermixed: options may stand between positional arguments.
        needs_registration: register with Detectron2 before `run`.
        overrides: the positional argument `opts` takes all remaining words, which may be negative numbers; flags among
            them are flags all the same.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    epilog: str = ""
    intermixed: bool = False
    needs_registration: bool = True
    overrides: bool = False

    @command
    def __call__(self, argv: Sequence[str] | None = None, prog: str | None = None) -> None:
        """Parse and run; user errors end the process with exit code 1.

        Args:
            argv: the arguments; None: those of the process.
            prog: name of the program for help texts; None: `masqclip VERB` where `argv` is given, else the script.
        """
        if prog is None and argv is not None:
            prog = f"masqclip {self.name}"
        parser = self.parser(prog)
        args = parser.parse_intermixed_args(argv) if self.intermixed else parser.parse_args(argv)
        if self.overrides:
            _parse_flags_among_overrides(parser, args)
        if self.needs_registration:
            from .. import register_all

            register_all()
        self.run(args)

    def parser(self, prog: str | None = None) -> argparse.ArgumentParser:
        """The parser of the arguments.

        Args:
            prog: name of the program for help texts; None: the script.
        """
        parser = argparse.ArgumentParser(
            prog=prog,
            description=self.summary,
            epilog=self.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_arguments(parser)
        return parser


def _parse_flags_among_overrides(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Take the flags out of `args.opts`."""
    while (first := next((index for index, word in enumerate(args.opts) if word.startswith("--")), None)) is not None:
        before, rest = args.opts[:first], args.opts[first:]
        args.opts = []
        parser.parse_args(rest, namespace=args)
        if args.opts[:1] == rest[:1]:
            parser.error(f"unrecognized arguments: {rest[0]}")
        args.opts = [*before, *args.opts]


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """Add --import, whose values are `args.imports` for `import_user_code`."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="FILE",
        help="Python file or module to import first, such as one that registers your datasets; may be repeated",
    )


def add_override_options(parser: argparse.ArgumentParser) -> None:
    """Add --import and --opts, which takes all that follows."""
    add_import_option(parser)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides of the config")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model or --config-file, and --weights: which model a `Predictor` is."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--model", default=None, metavar="NAME",
        help="a model with its weights, such as photos (see `masqclip models`); default: shapes, a toy",
    )  # fmt: skip
    model.add_argument("--config-file", default=None, help="YAML file or shipped name, in place of --model")
    parser.add_argument("--weights", default=None, metavar="FILE", help="checkpoint in place of the model's own")


def add_precision_options(parser: argparse.ArgumentParser) -> None:
    """Add --dtype, --compile and --cuda-graphs: how the networks of a `Predictor` run."""
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16", "fp16"), default=None,
        help="precision of the networks; half precision where the machine has it; default: that of the config, fp32",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true", default=None,
        help="torch.compile the networks: slow for the first image, faster for many images of the same size",
    )  # fmt: skip
    parser.add_argument(
        "--cuda-graphs", action="store_true", default=None,
        help="on a GPU: send the networks as a whole, faster for many images of the same size",
    )  # fmt: skip


def load_predictor(args: argparse.Namespace) -> Predictor:
    """The model of `add_model_options`, `add_precision_options` and `add_override_options`."""
    from ..predictor import Predictor
    from ..user_code import import_user_code

    import_user_code(args.imports)
    how = {"opts": args.opts, "dtype": args.dtype, "compile": args.compile, "cuda_graphs": args.cuda_graphs}
    if args.model is None:
        return Predictor(args.config_file, args.weights, **how)
    return Predictor.from_pretrained(args.model, args.weights, **how)
