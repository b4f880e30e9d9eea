"""One training per output folder: a second one is refused, until the first one has ended in any way."""

import errno
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from masqclip_d2.engine.output_lock import LOCK_FILE, output_lock
from tests.forked import run_python, started_function
from tests.helpers import TINY_PROPOSER

ROOT = Path(__file__).resolve().parent.parent.parent


def hold(folder, with_fork):
    with output_lock(folder):
        if with_fork and os.fork() == 0:  # as a worker of a data loader, which may outlive a killed training
            (folder / "child").write_text(str(os.getpid()))
            time.sleep(60)
        (folder / "held").touch()
        time.sleep(60)


def test_a_second_training_is_refused_in_one_sentence(tmp_path):
    with (
        output_lock(tmp_path),
        pytest.raises(ValueError, match=rf"^OUTPUT_DIR .+ is in use by another training \(process {os.getpid()}\); "),
        output_lock(tmp_path),
    ):
        pass
    with output_lock(tmp_path), output_lock(tmp_path / "other"):
        pass


@pytest.mark.slow
def test_the_second_of_two_commands_is_refused_and_the_first_goes_on(shapes_root, tmp_path):
    words = [ROOT / "train_net.py", "--config-file", "base/shapes", "--num-gpus", "0", *TINY_PROPOSER]
    words += ["SOLVER.MAX_ITER", "100000", "SOLVER.IMS_PER_BATCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    words += ["DATASETS.TEST", "()", "OUTPUT_DIR", tmp_path]
    environment = {**os.environ, "DETECTRON2_DATASETS": "datasets", "OMP_NUM_THREADS": "1"}
    lock = tmp_path / LOCK_FILE
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_python, words, shapes_root.parent.parent, environment)
        while not lock.exists() or not lock.read_text():
            assert not first.done()
            time.sleep(0.02)
        second = run_python(words, shapes_root.parent.parent, environment)
        assert not first.done()
        os.kill(int(lock.read_text()), signal.SIGTERM)
    assert second.returncode == 1
    assert f"error: OUTPUT_DIR {tmp_path} is in use by another training" in second.stderr
    assert first.result().returncode == 128 + signal.SIGTERM


def test_the_lock_ends_with_its_process_even_if_a_fork_lives_on(tmp_path):
    process = started_function(hold, tmp_path, True)
    while not ((tmp_path / "held").exists() and (tmp_path / "child").exists()):
        assert process.exitcode is None
        time.sleep(0.02)
    with pytest.raises(ValueError, match=f"process {process.pid}"), output_lock(tmp_path):
        pass
    process.kill()
    process.join()
    with output_lock(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with output_lock(tmp_path):
        pass
    assert "cannot be locked ([Errno 37] No locks available)" in caplog.text


def test_no_output_folder_is_not_locked():
    with output_lock(""):
        pass
