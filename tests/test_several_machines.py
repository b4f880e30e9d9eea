"""Commands and job scripts of docs/several_machines.md, with two processes of this machine in place of two machines."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from masqclip_d2.config import load_config
from tests.forked import run_python
from tests.helpers import TINY_PROPOSER

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/several_machines.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SCRIPTS = {match[1]: block for block in BLOCKS if (match := re.match(r"# (\w+\.sh)\n", block))}
COMMANDS = [block.splitlines() for block in BLOCKS if block not in SCRIPTS.values()]
FEW_STEPS = {
    **dict(zip(TINY_PROPOSER[::2], TINY_PROPOSER[1::2], strict=True)),
    "MODEL.WEIGHTS": "", "SOLVER.MAX_ITER": 2, "SOLVER.STEPS": "()", "SOLVER.IMS_PER_BATCH": 2,
    "DATALOADER.NUM_WORKERS": 0, "DATASETS.TEST": "()", "OUTPUT_DIR": "output",
}  # fmt: skip
# Programs of SLURM for two machines, one after the other, and programs that print how they are called.
PROGRAMS = {
    "scontrol": "#!/bin/sh\nprintf '10.0.0.1\\n10.0.0.2\\n'\n",
    "srun": '#!/bin/sh\nSLURM_NODEID=0 "$@" && SLURM_NODEID=1 "$@"\n',
    "python": '#!/bin/sh\necho python "$@"\n',
    "torchrun": '#!/bin/sh\necho torchrun "$@"\n',
}


@pytest.fixture
def folder(shapes_root, tmp_path):
    """A folder with data, the training script and a configuration of few steps."""
    (tmp_path / "datasets").symlink_to(shapes_root.parent)
    (tmp_path / "train_net.py").symlink_to(ROOT / "train_net.py")
    cfg = load_config("shapes/teacher", [str(word) for pair in FEW_STEPS.items() for word in pair])
    (tmp_path / "few_steps.yaml").write_text(cfg.dump())
    return tmp_path


def small(command: str, port: int) -> str:
    """One process per machine on the CPU, few steps, and a free port of this machine."""
    command = re.sub(r"(--num-gpus|--nproc-per-node) 8", r"\1 1", command).replace("10.0.0.1", "127.0.0.1")
    command = command.replace("29500", str(port)).replace("configs/shapes/teacher.yaml", "few_steps.yaml")
    return command.replace("--resume", "--resume --num-gpus 0") if "torchrun" in command else command


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_page_has_commands_and_scripts():
    assert [len(lines) for lines in COMMANDS] == [2, 2]
    assert list(SCRIPTS) == ["slurm.sh", "slurm_torchrun.sh"]


@pytest.mark.slow
@pytest.mark.parametrize("lines", COMMANDS, ids=lambda lines: lines[0].split()[0])
def test_two_commands_train_together(lines, folder):
    port = free_port()
    commands = [shlex.split(small(line, port)) for line in lines]
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "DETECTRON2_DATASETS": "datasets",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        if command[0] == "python":
            return run_python(command[1:], cwd=folder, env=environment, timeout=300, fork_children=True)
        command[0] = str(Path(sys.executable).with_name("torchrun"))
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    with ThreadPoolExecutor() as threads:
        done = list(threads.map(run, commands))
    assert [each.returncode for each in done] == [0, 0], "\n".join(each.stderr[-2000:] for each in done)
    assert "model" in torch.load(folder / "output/model_final.pth", weights_only=True)
    assert (folder / "output/log.txt.rank1").exists()  # two processes of one training


@pytest.mark.parametrize(("name", "lines"), list(zip(SCRIPTS, COMMANDS, strict=True)), ids=list(SCRIPTS))
def test_a_job_script_starts_these_commands(name, lines, tmp_path):
    for program, text in PROGRAMS.items():
        (tmp_path / program).write_text(text)
        (tmp_path / program).chmod(0o755)
    (tmp_path / name).write_text(SCRIPTS[name])
    variables = {"SLURM_JOB_ID": "29500", "SLURM_JOB_NODELIST": "a[1-2]", "SLURM_NNODES": "2"}
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", name], cwd=tmp_path, env={**os.environ, **variables, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [sorted(line.split()) for line in done.stdout.splitlines()] == [sorted(line.split()) for line in lines]
