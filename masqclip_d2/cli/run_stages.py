"""The command `tools/run_stages.py` (installed: `masqclip-run-stages`): train all stages of a method, then evaluate it.

The stages are those of the configuration's key STAGES, then the configuration itself, then its evaluation. The outputs
of a stage are passed to the later ones. A finished stage is skipped, an interrupted one is resumed.
"""

from __future__ import annotations

import argparse
import shlex

from ..engine.stages.plan import plan_stages
from ..engine.stages.run import run_stages
from ..user_code import add_import_option, import_user_code
from .command import command


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a YAML file, or the name of a shipped config")
    parser.add_argument("--num-gpus", type=int, default=1, help="for every stage; without CUDA: CPU processes")
    parser.add_argument("--output-root", help="replaces the first folder ('output') of each OUTPUT_DIR")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    parser.add_argument("opts", nargs="*", help="KEY VALUE overrides for every stage")
    add_import_option(parser)
    args = parser.parse_intermixed_args(argv)
    import_user_code(args.imports)
    stages = plan_stages(args.config, args.opts, args.output_root, imports=args.imports)
    if args.dry_run:
        for stage in stages:
            print(shlex.join(stage.command(args.num_gpus)))
    else:
        run_stages(stages, args.num_gpus)


if __name__ == "__main__":
    main()
