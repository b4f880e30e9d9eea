"""The stand-in for subprocess.run behaves like it."""

import os
import subprocess

import pytest

from tests.forked import run_python


def test_code_module_and_script(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys, os\nprint(os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd())\n"
    )
    for words in (["-m", "mine", "a"], ["mine.py", "a"]):
        done = run_python(words, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout == f"mine.py ['a'] {tmp_path}\n", done.stderr
    done = run_python(["-c", "import os; print(os.environ['COLOR'], len(os.environ))"], env={"COLOR": "red"})
    assert done.stdout.startswith("red ") and "COLOR" not in os.environ


def test_a_script_can_spawn_processes(tmp_path):
    (tmp_path / "spawning.py").write_text(
        "import multiprocessing\n"
        "def square(x):\n    return x * x\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(square, [1, 2, 3]))\n"
    )
    done = run_python(["spawning.py"], cwd=tmp_path)
    assert done.stdout == "[1, 4, 9]\n", done.stderr


def test_exit_codes_and_tracebacks():
    assert run_python(["-c", "raise SystemExit(3)"]).returncode == 3
    done = run_python(["-c", "1 / 0"])
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr and not done.stdout


def test_output_of_child_processes_is_captured():
    assert run_python(["-c", "import os; os.system('echo hello')"]).stdout == "hello\n"


def test_processes_do_not_share_state():
    run_python(["-c", "import masqclip_d2; masqclip_d2.__version__ = 'changed'"])
    assert run_python(["-c", "import masqclip_d2; print(masqclip_d2.__version__ == 'changed')"]).stdout == "False\n"


def test_a_command_that_takes_too_long_is_killed():
    with pytest.raises(subprocess.TimeoutExpired):
        run_python(["-c", "import time; time.sleep(60)"], timeout=0.5)


CHILDREN = """
import os, subprocess, sys, torch
from torch import multiprocessing

def report(rank, words):
    print(f"rank {rank} of {os.getppid()}: {words}", flush=True)

if __name__ == "__main__":
    os.environ["COLOR"] = "red"
    code = "import os, sys; print(os.environ['COLOR'], 'CHILDREN' in globals(), sys.argv[1:]); raise SystemExit(4)"
    print(subprocess.run([sys.executable, "-c", code, "word"]).returncode, os.getpid(), flush=True)
    multiprocessing.start_processes(report, nprocs=2, args=("words",), start_method="spawn")
"""


def test_children_start_quickly_and_behave_alike(tmp_path):
    (tmp_path / "children.py").write_text(CHILDREN)
    done = run_python(["children.py"], cwd=tmp_path, fork_children=True)
    assert done.returncode == 0, done.stderr
    first, second, *ranks = done.stdout.splitlines()
    assert first == "red False ['word']" and second.startswith("4 ")
    parent = second.removeprefix("4 ")
    assert sorted(ranks) == [f"rank 0 of {parent}: words", f"rank 1 of {parent}: words"]
    assert subprocess.run.__module__ == "subprocess"  # replaced in that process only
    for number, seconds in enumerate((60, 0)):  # too long: the command, and what it runs
        code = f"import subprocess, sys, time; time.sleep({seconds})"
        child = f"subprocess.run([sys.executable, '-c', 'import time; time.sleep({60 * number})'])"
        with pytest.raises(subprocess.TimeoutExpired):
            run_python(["-c", f"{code}; {child}"], timeout=0.5, fork_children=True)
