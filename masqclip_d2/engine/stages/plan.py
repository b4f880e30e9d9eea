"""Plan the stages of a configuration: those of its key STAGES, then its own training, then its evaluation.

The outputs of a stage are the inputs of later ones. What a model writes and reads is a matter of its class, which may
have (all optional):

    stage_outputs(output_dir) -> {KEY: VALUE}   class method: settings for later stages; default: MODEL.WEIGHTS
    unused_settings                             beginnings of keys of other stages' outputs that it does not read
    num_rounds(cfg) -> int                      class method: how often the stage is repeated, each round from the
                                                weights of the round before
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...checkpoint.checkpointer import resumable_checkpoints
from ...config import load_config
from ...config_files import config_dir, config_files, find_config
from ...meta_arch.build import model_class

FINAL_WEIGHTS = "model_final.pth"


@dataclass(frozen=True)
class Stage:
    """One run of the training command.

    Args:
        title: for messages.
        config: its file.
        opts: KEY VALUE pairs, each key once; they include the output folder and the weights of earlier stages.
        output: its OUTPUT_DIR.
        eval_only: evaluate instead of training.
        predicts_proposals: the model predicts class-agnostic masks only.
        imports: files and modules for `--import`.
        outputs: {KEY: VALUE} settings for later stages, mostly files that it writes.
    """

    title: str
    config: Path
    opts: tuple[str, ...]
    output: Path
    eval_only: bool = False
    predicts_proposals: bool = False
    imports: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def files(self) -> list[Path]:
        """Files in its output folder that later stages read."""
        return [Path(value) for value in self.outputs.values() if Path(value).parent == self.output]

    @property
    def settings(self) -> dict[str, str]:
        """`opts` as a dictionary."""
        return _to_dict(self.opts)

    @property
    def weights(self) -> Path:
        """Checkpoint that a finished training writes."""
        return self.output / FINAL_WEIGHTS

    @property
    def results(self) -> Path:
        """File that a finished evaluation writes."""
        return self.output / "results.json"

    def is_finished(self) -> bool:
        """Whether the folder holds the last checkpoint and `files`, or results no older than the evaluated weights."""
        if not self.eval_only:
            written = all(file.is_file() for file in (self.weights, *self.files))
            return written and resumable_checkpoints(self.output)[:1] == [self.weights]
        weights = Path(self.settings.get("MODEL.WEIGHTS", ""))
        changed = weights.stat().st_mtime if weights.is_file() else 0
        return self.results.is_file() and self.results.stat().st_mtime >= changed

    def evaluation(self) -> Stage:
        """The evaluation of this stage's weights, in the same folder."""
        opts = {**self.settings, "MODEL.WEIGHTS": str(self.weights)}  # replaces the weights that training started from
        return replace(self, title=f"evaluation of {self.title}", opts=_to_opts(opts), eval_only=True)

    def command(self, num_gpus: int) -> list[str]:
        """Command line of the stage, as `subprocess.run` takes it."""
        train = [sys.executable, "-m", "masqclip_d2", "train"]
        return [*train, "--config-file", str(self.config), *self._flags(num_gpus)]

    def shell_command(self, num_gpus: int) -> str:
        """The same as a line for a shell in a checkout."""
        inside = self.config.is_relative_to(config_dir())
        config = Path("configs", self.config.relative_to(config_dir())) if inside else self.config
        return shlex.join(["python", "train_net.py", "--config-file", str(config), *self._flags(num_gpus)])

    def _flags(self, num_gpus: int) -> list[str]:
        imports = [word for name in self.imports for word in ("--import", name)]
        return [*imports, "--num-gpus", str(num_gpus), "--eval-only" if self.eval_only else "--resume", *self.opts]


def plan_stages(
    config: str | Path,
    opts: Sequence[str],
    output_root: str | Path | None = None,
    *,
    stages: Sequence[str] | None = None,
    own_opts: Sequence[str] = (),
    inherited: Mapping[str, str] | None = None,
    train: bool = True,
    imports: Sequence[str] = (),
) -> list[Stage]:
    """Stages of a configuration, in the order in which they run.

    Args:
        config: file or shipped name.
        opts: KEY VALUE pairs for every stage.
        output_root: replaces the first folder of each OUTPUT_DIR; None: keep it.
        stages: configurations of the earlier stages; None: those of the key STAGES.
        own_opts: KEY VALUE pairs for the configuration itself, not for the earlier stages.
        inherited: settings from stages that are not part of this plan.
        train: False: the configuration is evaluated with the outputs of the earlier stages instead of trained.
        imports: files and modules for `--import` of every stage; they must be imported already.

    Raises:
        FileNotFoundError, KeyError, ValueError: see `load_config`.
        ValueError: a configuration names an unregistered meta-architecture.
    """
    last = find_config(config)
    own_opts = [*opts, *own_opts]
    method = load_config(last, own_opts)
    earlier = [_stage_config(last, name) for name in (method.STAGES if stages is None else stages)]
    inherited = dict(inherited or {})
    planned: list[Stage] = []
    for file, words, learns in [*((file, opts, True) for file in earlier), (last, own_opts, train)]:
        cfg = load_config(file, words)
        model = model_class(cfg)
        for title, folder in _folders(file, cfg, method, model, output_root, learns).items():
            settings = {**_to_dict(words), **_used(inherited, getattr(model, "unused_settings", ()))}
            settings.pop("OUTPUT_DIR", None)  # comes last, so that a stage of two methods is the same command
            stage = Stage(
                title=title,
                config=file,
                opts=_to_opts({**settings, "OUTPUT_DIR": str(folder)}),
                output=folder,
                eval_only=not learns,
                predicts_proposals=getattr(model, "predicts_proposals", False),
                imports=tuple(imports),
            )
            planned.append(replace(stage, outputs=_outputs(model, stage)))
            inherited.update(planned[-1].outputs)
    if train and method.DATASETS.TEST:
        planned.append(replace(planned[-1].evaluation(), title="evaluation"))
    return planned


def _folders(file: Path, cfg, method, model: type, output_root: str | Path | None, learns: bool) -> dict[str, Path]:
    """{title: output folder} of a configuration: one entry, or one per round. `method` decides the number of rounds."""
    output = Path(cfg.OUTPUT_DIR)
    if output_root is not None:
        output = Path(output_root, *output.parts[1:])
    if not learns:
        return {"evaluation": output}
    if not hasattr(model, "num_rounds"):
        return {file.stem: output}
    return {f"{file.stem}, round {n}": output / f"round_{n}" for n in range(1, model.num_rounds(method) + 1)}


def _outputs(model: type, stage: Stage) -> dict[str, str]:
    """Settings for later stages that refer to the files of a stage."""
    if hasattr(model, "stage_outputs"):
        return model.stage_outputs(stage.output)
    return {"MODEL.WEIGHTS": str(stage.weights)}


def _used(inherited: Mapping[str, str], unused: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in inherited.items() if not key.startswith(tuple(unused))}


def _to_dict(opts: Sequence[str]) -> dict[str, str]:
    return dict(zip(opts[::2], opts[1::2], strict=True))


def _to_opts(settings: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(word for pair in settings.items() for word in pair)


def _stage_config(config: Path, name: str) -> Path:
    """A stage's file: beside the configuration or beside one that it is based on, or a shipped name."""
    beside = (file.parent / name for file in reversed(config_files(config)))
    return next((path for path in beside if path.is_file()), None) or find_config(name)
