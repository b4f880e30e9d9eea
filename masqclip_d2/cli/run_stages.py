"""The verb `run-stages`: train all stages of a method, then evaluate it."""

from __future__ import annotations

import argparse
import shlex

from .command import Command, add_import_option

_EPILOG = """examples:
  masqclip run-stages configs/masqclip_r50.yaml --num-gpus 8
  masqclip run-stages shapes/maskclip --num-gpus 0 --dry-run
The stages are those of the configuration's key STAGES, then the configuration itself, then its evaluation. The outputs
of a stage are passed to the later ones. A finished stage is skipped, an interrupted one is resumed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a YAML file, or the name of a shipped config")
    parser.add_argument("--num-gpus", type=int, default=1, help="for every stage; without CUDA: CPU processes")
    parser.add_argument("--output-root", help="replaces the first folder ('output') of each OUTPUT_DIR")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    add_import_option(parser)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides for every stage")


def run(args: argparse.Namespace) -> None:
    from ..engine.stages.plan import plan_stages
    from ..engine.stages.run import run_stages
    from ..user_code import import_user_code

    import_user_code(args.imports)
    stages = plan_stages(args.config, args.opts, args.output_root, imports=args.imports)
    if args.dry_run:
        for stage in stages:
            print(shlex.join(stage.command(args.num_gpus)))
    else:
        run_stages(stages, args.num_gpus)


main = Command(
    "run-stages",
    "Train all stages of a method, then evaluate it; finished stages are skipped.",
    add_arguments,
    run,
    _EPILOG,
    intermixed=True,
)

if __name__ == "__main__":
    main()
