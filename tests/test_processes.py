"""Commands stop at once, workers end with their parent, and a worker's death is an error with its reason."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from masqclip_d2 import processes
from masqclip_d2.cli.command import command
from masqclip_d2.processes import WorkerDiedError, in_workers
from tests.forked import started_function

LIMIT = 5  # seconds on a busy machine; less than 2 on an idle one
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")


def sleep_with_a_temporary_file(folder, item):
    path = folder / f"{item}.tmp"
    try:
        path.touch()
        time.sleep(60)
    finally:
        path.unlink()


def sleeping_workers(folder):
    list(in_workers(partial(sleep_with_a_temporary_file, folder), range(8), 2))


def one_long_operation(folder):
    """As a step of a training on CPUs."""
    numbers = torch.ones(4000, 4000)
    (folder / "1.tmp").touch()
    torch.linalg.svd(numbers)


def run_command(main, folder):
    """Be the process of a command, in a session of its own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background of a shell
    multiprocessing.set_start_method("fork", force=True)  # that of the forked commands is another
    os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    command(main)(folder)


def be_interrupted(folder):
    threading.Timer(0.1, processes._signal_received.set).start()
    try:
        processes.exit_interrupted(KeyboardInterrupt())
    except SystemExit:
        (folder / "slow exit").touch()


def double(item):
    return 2 * item


def die(item):
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return item


def fail(item):
    raise ValueError(f"item {item} is broken")


def start(main, folder, num_started):
    process = started_function(run_command, main, folder)
    while len(list(folder.glob("*.tmp"))) < num_started:
        assert process.exitcode is None
        time.sleep(0.02)
    return process


def wait(process, seconds):
    process.join(seconds)
    return process.exitcode


def running_in_session(session):
    """Processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def has_ended_within(seconds, session):
    end = time.monotonic() + seconds
    while running_in_session(session) and time.monotonic() < end:
        time.sleep(0.05)
    return not running_in_session(session)


def test_results_of_workers():
    assert list(in_workers(double, range(5), 2, ordered=True)) == [0, 2, 4, 6, 8]
    assert sorted(in_workers(double, range(5), 2)) == [0, 2, 4, 6, 8]
    with pytest.raises(ValueError, match="item . is broken"):
        list(in_workers(fail, range(3), 2))


def test_a_killed_worker_is_an_error_with_its_reason():
    with pytest.raises(WorkerDiedError, match="ended by SIGKILL, often because memory ran out; use fewer workers"):
        list(in_workers(die, range(4), 2))


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "error: interrupted.\n"),
        (signal.SIGTERM, 143, "error: terminated.\n"),
        (signal.SIGHUP, 129, "error: terminated.\n"),
    ],
)
@pytest.mark.parametrize("to_all", [True, False], ids=["to all processes", "to the parent"])
def test_a_signal_stops_a_command_and_its_workers(number, code, message, to_all, tmp_path):
    process = start(sleeping_workers, tmp_path, 2)
    if to_all:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        os.kill(process.pid, number)
    assert wait(process, LIMIT) == code
    assert (tmp_path / "stderr").read_text() == message
    assert has_ended_within(LIMIT, process.pid)
    assert not list(tmp_path.glob("*.tmp"))  # temporary files are removed


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    process = start(sleeping_workers, tmp_path, 2)
    process.kill()
    assert wait(process, LIMIT) == -signal.SIGKILL
    assert has_ended_within(LIMIT, process.pid)


def test_an_interrupted_command_waits_for_the_thread_that_listens(tmp_path):
    """Without that thread it would exit as an interpreter does, in seconds."""
    process = started_function(be_interrupted, tmp_path)
    assert wait(process, LIMIT) == 130
    assert not (tmp_path / "slow exit").exists()


def test_a_long_operation_is_interrupted(tmp_path):
    process = start(one_long_operation, tmp_path, 1)
    os.kill(process.pid, signal.SIGINT)
    assert wait(process, LIMIT) == 130
