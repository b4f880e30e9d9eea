"""The command `tools/run_stages.py` (installed: `masqclip-run-stages`): all stages of a method, then its numbers.

The stages are those of the configuration's key STAGES, then the configuration itself, then its evaluation. What a stage
leaves behind is handed to the later ones: the CLIP of `clip_pretraining` as CLIP.NAME, the proposer of `teacher` and of
each round of `student` as MODEL.WEIGHTS. A finished stage is skipped, an unfinished one is resumed.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import config_dir, find_config, load_config
from ..evaluation.build import predicts_proposals
from ..user_code import add_import_option
from .command import command


@dataclass(frozen=True)
class Stage:
    """One run of the training command.

    Args:
        title: for messages.
        config: its file.
        opts: KEY VALUE words, each key once, the output folder and the weights of earlier stages among them.
        output: its OUTPUT_DIR.
        eval_only: evaluate instead of training.
        proposes: its model answers proposals and nothing else.
        imports: the user's own Python, for `--import`.
    """

    title: str
    config: Path
    opts: tuple[str, ...]
    output: Path
    eval_only: bool = False
    proposes: bool = False
    imports: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, str]:
        """`opts` as a dictionary."""
        return _pairs(self.opts)

    @property
    def weights(self) -> Path:
        """What training leaves behind."""
        return self.output / "model_final.pth"

    @property
    def results(self) -> Path:
        """What an evaluation leaves behind."""
        return self.output / "results.json"

    def is_finished(self) -> bool:
        """Whether the folder holds the last checkpoint, or results no older than the weights they are of."""
        if not self.eval_only:
            last = self.output / "last_checkpoint"
            return self.weights.is_file() and last.is_file() and last.read_text().strip() == self.weights.name
        weights = Path(self.settings.get("MODEL.WEIGHTS", ""))
        changed = weights.stat().st_mtime if weights.is_file() else 0
        return self.results.is_file() and self.results.stat().st_mtime >= changed

    def evaluation(self) -> Stage:
        """The evaluation of what this stage trains, in the same folder."""
        opts = {**self.settings, "MODEL.WEIGHTS": str(self.weights)}  # instead of what it started from
        return replace(self, title=f"evaluation of {self.title}", opts=_words(opts), eval_only=True)

    def command(self, num_gpus: int) -> list[str]:
        """The words of its command line."""
        train = [sys.executable, "-m", "masqclip_d2.cli.train"]
        return [*train, "--config-file", str(self.config), *self._flags(num_gpus)]

    def typed(self, num_gpus: int) -> str:
        """The same as one types it in a checkout."""
        inside = self.config.is_relative_to(config_dir())
        config = Path("configs", self.config.relative_to(config_dir())) if inside else self.config
        return shlex.join(["python", "train_net.py", "--config-file", str(config), *self._flags(num_gpus)])

    def _flags(self, num_gpus: int) -> list[str]:
        imports = [word for name in self.imports for word in ("--import", name)]
        return [*imports, "--num-gpus", str(num_gpus), "--eval-only" if self.eval_only else "--resume", *self.opts]


def plan(
    config: str | Path,
    opts: Sequence[str],
    output_root: str | Path | None = None,
    *,
    stages: Sequence[str] | None = None,
    own_opts: Sequence[str] = (),
    handed_on: Mapping[str, str] | None = None,
    train: bool = True,
) -> list[Stage]:
    """The stages of a configuration, in order.

    Args:
        config: file or shipped name.
        opts: KEY VALUE words for every stage.
        output_root: folder that takes the place of the first folder of each OUTPUT_DIR; None: they stay.
        stages: configurations of the stages before it, as in its key STAGES; None: that key's.
        own_opts: KEY VALUE words for the configuration itself, not for the stages before it.
        handed_on: KEY VALUE pairs that still earlier stages leave behind.
        train: False: the configuration is not trained but evaluated with what the stages before it leave behind.

    Raises:
        FileNotFoundError, KeyError, ValueError: see `load_config`.
    """
    last = find_config(config)
    own_opts = [*opts, *own_opts]
    method = load_config(last, own_opts)
    before = [_beside(last, name) for name in (method.STAGES if stages is None else stages)]
    handed_on = dict(handed_on or {})
    planned: list[Stage] = []
    for file, words, learns in [*((file, opts, True) for file in before), (last, own_opts, train)]:
        cfg = load_config(file, words)
        architecture = cfg.MODEL.META_ARCHITECTURE
        output = Path(cfg.OUTPUT_DIR)
        if output_root is not None:
            output = Path(output_root, *output.parts[1:])
        folders = {file.stem if learns else "evaluation": output}
        if architecture == "MaskDistiller" and learns:
            rounds = range(1, method.MODEL.MASQCLIP.DISTILLATION.ROUNDS + 1)
            folders = {f"{file.stem}, round {n}": output / f"round_{n}" for n in rounds}
        for title, folder in folders.items():
            settings = {**_pairs(words), **_wanted(cfg, handed_on)}
            settings.pop("OUTPUT_DIR", None)  # stands last, so that a stage of two methods is the same command
            opts_of_stage = _words({**settings, "OUTPUT_DIR": str(folder)})
            stage = Stage(title, file, opts_of_stage, folder, not learns, predicts_proposals(cfg))
            planned.append(stage)
            if architecture == "ClipPretraining":
                handed_on["MODEL.MASQCLIP.CLIP.NAME"] = str(folder / "clip.safetensors")
                handed_on["MODEL.MASQCLIP.CLIP.ARCHITECTURE"] = ""
            else:
                handed_on["MODEL.WEIGHTS"] = str(stage.weights)
    if train and method.DATASETS.TEST:
        planned.append(replace(planned[-1].evaluation(), title="evaluation"))
    return planned


def run(stage: Stage, num_gpus: int, where: str) -> None:
    """Run a stage in a process of its own, and say so.

    Args:
        stage: what to run.
        num_gpus: for it.
        where: its number and name, for messages.

    Raises:
        ValueError: it failed.
    """
    print(where, flush=True)
    start = time.monotonic()
    code = subprocess.run(stage.command(num_gpus), check=False).returncode
    if code:
        raise ValueError(f"{where} stopped with exit code {code}; the same command goes on from there.")
    print(f"{where}: {(time.monotonic() - start) / 60:.1f} minutes.", flush=True)


def _pairs(words: Sequence[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))


def _words(pairs: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(word for pair in pairs.items() for word in pair)


def _beside(config: Path, name: str) -> Path:
    """A stage's file, given relative to the configuration that lists it."""
    path = config.parent / name
    return path if path.is_file() else find_config(name)


def _wanted(cfg, handed_on: dict[str, str]) -> dict[str, str]:
    """What a stage takes over of the earlier ones: a proposer does not want a CLIP, nor CLIP a proposer's weights."""
    clip = cfg.MODEL.META_ARCHITECTURE == "ClipPretraining"
    unwanted = "MODEL.WEIGHTS" if clip else "MODEL.MASQCLIP.CLIP." if predicts_proposals(cfg) else None
    return {key: value for key, value in handed_on.items() if unwanted is None or not key.startswith(unwanted)}


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a YAML file, or the name of a shipped config")
    parser.add_argument("--num-gpus", type=int, default=1, help="for every stage; without CUDA: CPU processes")
    parser.add_argument("--output-root", help="folder instead of the first one of each OUTPUT_DIR ('output')")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    parser.add_argument("opts", nargs="*", help="KEY VALUE overrides for every stage")
    add_import_option(parser)
    args = parser.parse_intermixed_args(argv)
    planned = plan(args.config, args.opts, args.output_root)
    stages = [replace(stage, imports=tuple(args.imports)) for stage in planned]
    for number, stage in enumerate(stages, start=1):
        where = f"stage {number} of {len(stages)}: {stage.title} ({stage.output})"
        if args.dry_run:
            print(shlex.join(stage.command(args.num_gpus)))
        elif stage.is_finished():
            print(f"{where}: finished before, skipped.", flush=True)
        else:
            run(stage, args.num_gpus, where)


if __name__ == "__main__":
    main()
