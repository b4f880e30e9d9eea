"""detectron2.utils: processes, logs, files, seeds, memory, registries."""

import masqclip_d2  # noqa: F401  isort: skip
import logging
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import create_small_table, log_every_n, log_every_n_seconds, log_first_n, setup_logger
from detectron2.utils.memory import retry_if_cuda_oom
from detectron2.utils.registry import Registry

from tests.forked import run_python


def test_comm_in_one_process():
    assert (comm.get_world_size(), comm.get_rank(), comm.get_local_rank(), comm.get_local_size()) == (1, 0, 0, 1)
    assert comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather({"a": 1}) == comm.gather({"a": 1}) == [{"a": 1}]
    assert 0 <= comm.shared_random_seed() < 2**31
    losses = {"a": torch.tensor(2.0)}
    assert comm.reduce_dict(losses) == losses


TWO_PROCESSES = """
import os, sys, masqclip_d2, torch, torch.distributed as dist
from detectron2.utils import comm
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
assert (comm.get_world_size(), comm.get_rank(), comm.is_main_process()) == (2, rank, rank == 0)
try:
    comm.get_local_rank()
except AssertionError:
    pass
else:
    sys.exit("get_local_rank works without a local group")
comm.create_local_process_group(1)  # two machines with one process each
assert (comm.get_local_rank(), comm.get_local_size()) == (0, 1)
assert dist.get_world_size(comm.get_local_process_group()) == 1
assert comm.all_gather("ab"[rank] * (rank + 1)) == ["a", "bb"]
assert comm.gather(rank) == ([0, 1] if rank == 0 else [])
assert comm.gather(rank, dst=1) == ([0, 1] if rank == 1 else [])
assert len(set(comm.all_gather(comm.shared_random_seed()))) == 1
losses = {"b": torch.tensor(1.0 + rank), "a": torch.tensor(10.0 * rank)}
means, sums = comm.reduce_dict(losses), comm.reduce_dict(losses, average=False)
if rank == 0:
    assert {k: float(v) for k, v in means.items()} == {"a": 5.0, "b": 1.5}
    assert {k: float(v) for k, v in sums.items()} == {"a": 10.0, "b": 3.0}
comm.synchronize()
dist.destroy_process_group()
# Skips the teardown of the interpreter, which sometimes aborts on a busy machine after gloo was used ("terminate
# called without an active exception"), in plain torch too. An assertion above that fails still ends with 1.
os._exit(0)
"""


def test_comm_in_two_processes(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(rank):
        return run_python(["-c", TWO_PROCESSES, str(rank), str(tmp_path / "store")], env=environment, timeout=120)

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(run, range(2)):
            assert done.returncode == 0, done.stderr


class TestLogger:
    def test_file_and_terminal(self, tmp_path, capsys):
        logger = setup_logger(str(tmp_path), name="contract_a", abbrev_name="ca")
        assert setup_logger(str(tmp_path), name="contract_a", abbrev_name="ca") is logger
        assert len(logger.handlers) == 2 and not logger.propagate
        logging.getLogger("contract_a.part").info("hello")
        logger.warning("careful")
        text = (tmp_path / "log.txt").read_text()
        assert text.count("hello") == 1 and ".part INFO: hello" in text and "careful" in text
        terminal = re.sub("\x1b\\[[0-9]*m", "", capsys.readouterr().out)  # without colors
        assert " ca.part]: " in terminal and "hello" in terminal and "WARNING" in terminal and "careful" in terminal

    def test_other_ranks_write_to_their_own_file_only(self, tmp_path, capsys):
        setup_logger(str(tmp_path), distributed_rank=2, name="contract_b").info("from rank 2")
        assert "from rank 2" in (tmp_path / "log.txt.rank2").read_text()
        assert not (tmp_path / "log.txt").exists() and "from rank 2" not in capsys.readouterr().out

    def test_output_may_be_a_file(self, tmp_path):
        setup_logger(str(tmp_path / "sub" / "own.log"), name="contract_c").info("hello")
        assert "hello" in (tmp_path / "sub" / "own.log").read_text()

    @pytest.fixture
    def records(self):
        found = []
        logger = logging.getLogger("contract_limited")
        handler = logging.Handler()
        handler.emit = found.append
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        yield found
        logger.removeHandler(handler)

    def test_first_n(self, records):
        for i in range(5):
            log_first_n(logging.INFO, f"message {i}", n=2, name="contract_limited")
        assert [r.getMessage() for r in records] == ["message 0", "message 1"]
        for i in range(4):
            log_first_n(logging.INFO, f"other {i % 2}", name="contract_limited", key="message")
        assert [r.getMessage() for r in records][2:] == ["other 0", "other 1"]

    def test_every_n(self, records):
        for i in range(7):
            log_every_n(logging.INFO, f"{i}", n=3, name="contract_limited")
        assert [r.getMessage() for r in records] == ["0", "3", "6"]

    def test_every_n_seconds(self, records):
        for _ in range(5):
            log_every_n_seconds(logging.INFO, "slow", n=1000, name="contract_limited")
        assert len(records) == 1


def test_small_table():
    head, _, row = create_small_table({"AP": 12.3456, "AP50": 1.0}).splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["AP", "AP50"]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["12.346", "1.000"]


def test_seed_all_rng():
    draws = []
    for seed in (1, 1, 2, None):
        seed_all_rng(seed)
        draws.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert draws[0] == draws[1] != draws[2]
    assert draws[3] not in draws[:3]


def test_path_manager(tmp_path, monkeypatch):
    with PathManager.open(str(tmp_path / "a.txt"), "w") as file:
        file.write("x")
    assert PathManager.isfile(str(tmp_path / "a.txt")) and PathManager.ls(str(tmp_path)) == ["a.txt"]
    # Names of the model zoo are URLs of its server; the URL handler is replaced, so nothing is downloaded.
    asked = []
    handler = PathManager._PathManager__get_path_handler("https://example.org/")
    monkeypatch.setattr(
        type(handler), "_get_local_path", lambda self, path, *a, **k: asked.append(path) or str(tmp_path / "a.txt")
    )
    assert Path(PathManager.get_local_path("detectron2://folder/R-50.pkl")).read_text() == "x"
    assert asked == ["https://dl.fbaipublicfiles.com/detectron2/folder/R-50.pkl"]


class TestRetryIfCudaOom:
    def test_success_and_other_errors(self):
        assert retry_if_cuda_oom(lambda x, y=1: x + y)(2, y=3) == 5

        def broken():
            raise RuntimeError("another reason")

        with pytest.raises(RuntimeError, match="another reason"):
            retry_if_cuda_oom(broken)()

    def test_three_tries(self):
        calls = []

        def fails_twice(x):
            calls.append(x)
            if len(calls) < 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
            return x

        assert retry_if_cuda_oom(fails_twice)(7) == 7
        assert len(calls) == 3


def test_registry():
    registry = Registry("CONTRACT")

    @registry.register()
    class Thing:
        pass

    assert registry.get("Thing") is Thing and "Thing" in registry
    with pytest.raises(AssertionError):
        registry.register(Thing)
    with pytest.raises(KeyError, match="CONTRACT"):
        registry.get("Nothing")
