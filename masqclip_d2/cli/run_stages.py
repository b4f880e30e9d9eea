"""The command `tools/run_stages.py` (installed: `masqclip-run-stages`): all stages of a method, then its numbers.

The stages are those of the configuration's key STAGES, then the configuration itself, then its evaluation. What a stage
leaves behind is handed to the later ones: the CLIP of `clip_pretraining` as CLIP.NAME, the proposer of `teacher` and of
each round of `student` as MODEL.WEIGHTS. A finished stage is skipped, an unfinished one is resumed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ..config import find_config, load_config
from ..evaluation.build import answers_proposals
from .command import command


@dataclass(frozen=True)
class Stage:
    """One run of the training command.

    Args:
        title: for messages.
        config: its file.
        opts: KEY VALUE words, the output folder and the weights of earlier stages among them.
        output: its OUTPUT_DIR.
        eval_only: evaluate instead of training.
    """

    title: str
    config: Path
    opts: tuple[str, ...]
    output: Path
    eval_only: bool = False

    def is_finished(self) -> bool:
        """Whether the folder holds the last checkpoint, or newer results than that."""
        weights = self.output / "model_final.pth"
        if not self.eval_only:
            last = self.output / "last_checkpoint"
            return weights.is_file() and last.is_file() and last.read_text().strip() == weights.name
        results = self.output / "results.json"
        return results.is_file() and results.stat().st_mtime >= weights.stat().st_mtime

    def command(self, num_gpus: int) -> list[str]:
        """The words of its command line."""
        how = "--eval-only" if self.eval_only else "--resume"
        train = [sys.executable, "-m", "masqclip_d2.cli.train"]
        return [*train, "--config-file", str(self.config), "--num-gpus", str(num_gpus), how, *self.opts]


def plan(config: str | Path, opts: list[str], output_root: str | None = None) -> list[Stage]:
    """The stages of a configuration, in order.

    Args:
        config: file or shipped name.
        opts: KEY VALUE words for every stage.
        output_root: folder that takes the place of the first folder of each OUTPUT_DIR; None: they stay.

    Raises:
        FileNotFoundError, KeyError, ValueError: see `load_config`.
    """
    last = find_config(config)
    files = [_beside(last, name) for name in load_config(last, opts).STAGES] + [last]
    handed_on: dict[str, str] = {}
    stages: list[Stage] = []
    for file in files:
        cfg = load_config(file, opts)
        architecture = cfg.MODEL.META_ARCHITECTURE
        output = Path(cfg.OUTPUT_DIR)
        if output_root is not None:
            output = Path(output_root, *output.parts[1:])
        folders = {file.stem: output}
        if architecture == "MaskDistiller":
            rounds = range(1, cfg.MODEL.MASQCLIP.DISTILLATION.ROUNDS + 1)
            folders = {f"{file.stem}, round {n}": output / f"round_{n}" for n in rounds}
        for title, folder in folders.items():
            words = [word for pair in _wanted(cfg, handed_on).items() for word in pair]
            stages.append(Stage(title, file, (*opts, *words, "OUTPUT_DIR", str(folder)), folder))
            if architecture == "ClipPretraining":
                handed_on["MODEL.MASQCLIP.CLIP.NAME"] = str(folder / "clip.safetensors")
                handed_on["MODEL.MASQCLIP.CLIP.ARCHITECTURE"] = ""
            else:
                handed_on["MODEL.WEIGHTS"] = str(folder / "model_final.pth")
    final = stages[-1]
    weights = ("MODEL.WEIGHTS", str(final.output / "model_final.pth"))  # after, and so instead of, what it started from
    return [*stages, Stage("evaluation", final.config, (*final.opts, *weights), final.output, eval_only=True)]


def _beside(config: Path, name: str) -> Path:
    """A stage's file, given relative to the configuration that lists it."""
    path = config.parent / name
    return path if path.is_file() else find_config(name)


def _wanted(cfg, handed_on: dict[str, str]) -> dict[str, str]:
    """What a stage takes over of the earlier ones: a proposer does not want a CLIP, nor CLIP a proposer's weights."""
    clip = cfg.MODEL.META_ARCHITECTURE == "ClipPretraining"
    unwanted = "MODEL.WEIGHTS" if clip else "MODEL.MASQCLIP.CLIP." if answers_proposals(cfg) else None
    return {key: value for key, value in handed_on.items() if unwanted is None or not key.startswith(unwanted)}


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a YAML file, or the name of a shipped config")
    parser.add_argument("--num-gpus", type=int, default=1, help="for every stage; without CUDA: CPU processes")
    parser.add_argument("--output-root", help="folder instead of the first one of each OUTPUT_DIR ('output')")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    parser.add_argument("opts", nargs="*", help="KEY VALUE overrides for every stage")
    args = parser.parse_intermixed_args(argv)
    stages = plan(args.config, args.opts, args.output_root)
    for number, stage in enumerate(stages, start=1):
        words = stage.command(args.num_gpus)
        if args.dry_run:
            print(" ".join(word or "''" for word in words))
            continue
        where = f"stage {number} of {len(stages)}: {stage.title} ({stage.output})"
        if stage.is_finished():
            print(f"{where}: finished before, skipped.", flush=True)
            continue
        print(where, flush=True)
        start = time.monotonic()
        code = subprocess.run(words, check=False).returncode
        if code:
            raise ValueError(f"{where} stopped with exit code {code}; the same command goes on from there.")
        print(f"{where}: {(time.monotonic() - start) / 60:.1f} minutes.", flush=True)


if __name__ == "__main__":
    main()
