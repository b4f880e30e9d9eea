"""Train and evaluate the rows of both papers on Shapes, with several seeds, and write the table of results.

All seeds share the teachers, which take longest to train; other stages that rows share (one student per round) run once
per seed. Finished stages are skipped, interrupted ones are resumed. After each row shapes_results.md and .json are
written again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from masqclip_d2.cli.command import command
from masqclip_d2.config import load_config
from masqclip_d2.engine.stages.plan import Stage, plan_stages
from masqclip_d2.engine.stages.record import is_recorded, read_record, run_recorded
from masqclip_d2.error_report import sentence
from masqclip_d2.files import save_text
from masqclip_d2.proposer import proposer_class
from projects.shapes_results.rows import ORDERINGS, ROWS, TEACHERS, Row
from projects.shapes_results.seed_table import judge, over_seeds, page, read_metrics

TEACHER_SEED = 0  # of the teachers, which are the same for each seed of the rows
_RESERVED_KEYS = ("SEED", "OUTPUT_DIR")  # set by this command


@dataclass(frozen=True)
class Experiment:
    """The requested runs.

    Args:
        seeds: in order.
        output_root: folder of all runs, with a folder per seed.
        opts: KEY VALUE pairs for every stage.
        train_clip: train the tiny CLIP first, instead of using the shipped one.
    """

    seeds: tuple[int, ...]
    output_root: Path
    opts: tuple[str, ...] = ()
    train_clip: bool = False

    @cached_property
    def dataset(self) -> str:
        """Name of the validation set."""
        test = load_config("shapes/maskclip", self.opts).DATASETS.TEST
        if len(test) != 1:
            raise ValueError(f"Expected one validation set, got DATASETS.TEST {test}.")
        return test[0]

    @cached_property
    def data(self) -> dict[str, Any]:
        """World version and spec of the Shapes folder, from its manifest; {} without one."""
        from masqclip_d2.data.registration.common import datasets_root
        from masqclip_d2.shapes.rendering import read_manifest

        manifest = read_manifest(datasets_root() / "shapes") or {}
        return {key: manifest[key] for key in ("world_version", "spec") if manifest}

    @property
    def clip(self) -> str:
        """Description of the CLIP."""
        if self.train_clip:
            return "that of configs/shapes/clip_closeups.yaml and clip.yaml, trained by this command"
        return load_config("shapes/maskclip", self.opts).MODEL.MASQCLIP.CLIP.NAME

    @cached_property
    def clip_stages(self) -> list[Stage]:
        """Training of the tiny CLIP, shared by all rows and seeds, if requested."""
        if not self.train_clip:
            return []
        return plan_stages("shapes/clip", self.opts, self.output_root / "shared", stages=("clip_closeups.yaml",))

    @cached_property
    def teachers(self) -> dict[str, Stage]:
        """{configuration: training} of the teachers, which rows and seeds share."""
        opts = (*self.opts, "SEED", str(TEACHER_SEED))
        root = self.output_root / "shared"
        return {name: plan_stages(f"shapes/{Path(name).stem}", opts, root)[0] for name in TEACHERS}

    @cached_property
    def _plans(self) -> dict[tuple[str, int], list[Stage]]:
        return {}

    def stages(self, row: Row, seed: int) -> list[Stage]:
        """All stages of a row in order, including shared ones and the evaluation of its proposer, if it has one."""
        if (row.key, seed) not in self._plans:
            self._plans[row.key, seed] = self._plan(row, seed)
        return self._plans[row.key, seed]

    def _plan(self, row: Row, seed: int) -> list[Stage]:
        inherited = {}
        if self.clip_stages:
            clip = self.clip_stages[-1].output / "clip.safetensors"
            inherited = {"MODEL.MASQCLIP.CLIP.NAME": str(clip), "MODEL.MASQCLIP.CLIP.ARCHITECTURE": ""}
        teachers = [self.teachers[name] for name in row.stages if name in TEACHERS]
        for stage in teachers:
            inherited |= stage.outputs
        own = plan_stages(
            row.config,
            (*self.opts, "SEED", str(seed)),
            self.output_root / f"seed_{seed}",
            stages=[name for name in row.stages if name not in TEACHERS],
            own_opts=(*row.opts, "OUTPUT_DIR", f"output/shapes/{row.key}"),
            inherited=inherited,
            train=row.train,
        )
        planned = [*teachers, *own]
        proposers = [stage for stage in planned if stage.predicts_proposals]
        if proposers and _has_proposals(row, self.opts):
            planned.insert(planned.index(proposers[-1]) + 1, proposers[-1].evaluation())
        return [*self.clip_stages, *planned]

    def measured(self, row: Row, seed: int) -> dict[str, Any] | None:
        """Metrics, minutes per stage, versions and devices of a row; None unless all of its stages are finished."""
        stages = self.stages(row, seed)
        if not all(is_recorded(stage, self.data) for stage in stages):
            return None
        tasks: dict[str, Any] = {}
        contents = [json.loads(stage.results.read_text(encoding="utf-8")) for stage in stages if stage.eval_only]
        for content in contents:
            tasks |= content["results"][self.dataset]
        records = {self.name(stage): read_record(stage) for stage in stages}
        return {
            "metrics": read_metrics(tasks),
            "minutes": {name: record["minutes"] for name, record in records.items()},
            "devices": sorted({record["device"] for record in records.values()}),
            "versions": contents[-1]["versions"],
        }

    def name(self, stage: Stage) -> str:
        """Folder of a stage below the output root, with "training" or "evaluation"."""
        return f"{stage.output.relative_to(self.output_root)} ({'evaluation' if stage.eval_only else 'training'})"


class Table:
    """The measured rows, and the two files that show them."""

    def __init__(self, experiment: Experiment, folder: Path, command_line: str, num_gpus: int, num_images: int) -> None:
        self.experiment = experiment
        self.folder = folder
        self.command_line = command_line
        self.num_gpus = num_gpus
        self.num_images = num_images
        self.measured: dict[str, dict[int, dict[str, Any]]] = {row.key: {} for row in ROWS}
        for row in ROWS:
            for seed in experiment.seeds:
                self.update(row, seed)

    def update(self, row: Row, seed: int) -> bool:
        """Read the results of a row if it is finished for a seed; returns whether it is."""
        found = self.experiment.measured(row, seed)
        if found is not None:
            self.measured[row.key][seed] = found
        return found is not None

    def write(self) -> None:
        """Write both files, each atomically."""
        document = self.document()
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        save_text(self.folder / "shapes_results.json", text)
        save_text(self.folder / "shapes_results.md", page(document))

    def document(self) -> dict[str, Any]:
        """The content of shapes_results.json."""
        found = [one for by_seed in self.measured.values() for one in by_seed.values()]
        minutes = {name: spent for one in found for name, spent in one["minutes"].items()}
        metrics = {
            key: {seed: one["metrics"] for seed, one in by_seed.items()} for key, by_seed in self.measured.items()
        }
        return {
            "command": self.command_line,
            "unit": "percent",
            "dataset": self.experiment.dataset,
            "num_images": self.num_images,
            "data": self.experiment.data,
            "seeds": list(self.experiment.seeds),
            "clip": self.experiment.clip,
            "teacher_seed": TEACHER_SEED,
            "versions": _distinct(one["versions"] for one in found),
            "devices": _distinct(device for one in found for device in one["devices"]),
            "hours": sum(minutes.values()) / 60,
            "minutes": minutes,
            "rows": [self._row(row, metrics[row.key]) for row in ROWS],
            "orderings": [judge(ordering, metrics) for ordering in ORDERINGS],
        }

    def _row(self, row: Row, metrics: dict[int, dict[str, float | None]]) -> dict[str, Any]:
        stages = self.experiment.stages(row, self.experiment.seeds[0])
        return {
            **asdict(row),
            **over_seeds(metrics),
            "seeds": {
                str(seed): {"metrics": metrics[seed], "minutes": self.measured[row.key][seed]["minutes"]}
                for seed in sorted(metrics)
            },
            "commands": [stage.shell_command(self.num_gpus) for stage in stages],
        }


def run_rows(rows: Sequence[Row], table: Table) -> None:
    """Run the unfinished stages of some rows, one seed after the other, and write the table after each row.

    Rows that need a failed stage are skipped; the others are run.

    Raises:
        ValueError: stages failed.
    """
    experiment = table.experiment
    jobs = [(row, seed, experiment.stages(row, seed)) for seed in experiment.seeds for row in rows]
    position_of = {
        name: position
        for position, name in enumerate(
            dict.fromkeys(experiment.name(stage) for *_, stages in jobs for stage in stages), start=1
        )
    }
    failed: list[str] = []
    for row, seed, stages in jobs:
        where = f"seed {seed}, {row.title}"
        if seed in table.measured[row.key]:
            print(f"{where}: already finished, skipped.", flush=True)
            continue
        for stage in stages:
            name = experiment.name(stage)
            if name in failed:
                print(f"{where}: skipped, since {name} failed.", flush=True)
                break
            try:
                position = f"stage {position_of[name]} of {len(position_of)}"
                run_recorded(stage, table.num_gpus, f"{position}, {where}: {stage.title} ({name})", experiment.data)
            except ValueError as error:
                failed.append(name)
                print(f"error: {sentence(error)}", file=sys.stderr, flush=True)
                break
        if table.update(row, seed):
            table.write()
            print(f"{where}: added to {table.folder / 'shapes_results.md'}.", flush=True)
    if failed:
        raise ValueError(f"{len(failed)} stages failed: {', '.join(failed)}. The same command resumes there.")


def chosen_rows(keys: Sequence[str]) -> list[Row]:
    """Rows by their keys, in the papers' order; all if there are none.

    Raises:
        ValueError: there is no such row.
    """
    known = [row.key for row in ROWS]
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ValueError(f"There is no row {', '.join(map(repr, unknown))}; --rows takes {', '.join(known)}.")
    return [row for row in ROWS if not keys or row.key in keys]


def _has_proposals(row: Row, opts: Sequence[str]) -> bool:
    """Whether a row's masks come from a proposer, so that their recall is measured; `opts` are those of every stage."""
    return not proposer_class(load_config(row.config, (*opts, *row.opts))).needs_ground_truth


def _distinct(items) -> list:
    found: list = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m projects.shapes_results",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="rows to run; default: all")
    parser.add_argument("--output-root", type=Path, default=Path("output/shapes_results"), help="default: %(default)s")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the results; default: %(default)s")
    parser.add_argument("--num-gpus", type=int, default=1, help="for every stage; without CUDA: CPU processes")
    parser.add_argument("--train-clip", action="store_true", help="train the tiny CLIP first; default: the shipped one")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides for every stage")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = _parse(argv)
    for key in _RESERVED_KEYS:
        if key in args.opts[::2]:
            raise ValueError(f"{key} is set by --seeds and --output-root; remove it from --opts.")
    rows = chosen_rows(args.rows)
    experiment = Experiment(tuple(dict.fromkeys(args.seeds)), args.output_root, tuple(args.opts), args.train_clip)
    if args.dry_run:
        commands = (
            (
                f"# seed {seed}, {row.title}",
                [stage.shell_command(args.num_gpus) for stage in experiment.stages(row, seed)],
            )
            for seed in experiment.seeds
            for row in rows
        )
        printed: set[str] = set()
        for title, lines in commands:
            print("\n".join([title, *(line for line in lines if line not in printed)]))
            printed.update(lines)
        return
    from detectron2.data import DatasetCatalog

    num_images = len(DatasetCatalog.get(experiment.dataset))
    arguments = sys.argv[1:] if argv is None else argv
    command_line = f"python -m projects.shapes_results {shlex.join(arguments)}".rstrip()
    table = Table(experiment, args.docs, command_line, args.num_gpus, num_images)
    table.write()
    run_rows(rows, table)
