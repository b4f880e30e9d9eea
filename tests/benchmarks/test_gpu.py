"""benchmarks/gpu.py without a GPU: all sections to the end, and rows that fail, crash or hang."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu_sections.report import DONE, FAILED, SKIPPED, Report

SCRIPT = Path(gpu.__file__)


@pytest.fixture
def run(tmp_path):
    """Run the script in its tiny form; returns the process and the sections by title."""

    def run(*words):
        command = [sys.executable, SCRIPT, "--device", "cpu", "--tiny", "--output", tmp_path, *words]
        done = subprocess.run(command, capture_output=True, text=True)
        results = json.loads((tmp_path / "results.json").read_text())
        return done, {section["title"]: section["rows"] for section in results["sections"]}

    return run


@pytest.mark.slow
def test_all_sections_run_to_the_end_on_a_cpu(run, tmp_path):
    done, sections = run("--seconds", "900")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(sections) == len(gpu.SECTIONS)
    rows = [row for rows in sections.values() for row in rows]
    assert {row["status"] for row in rows} == {DONE, SKIPPED}
    assert all(re.search("CUDA device|CPUs|loops", row["reason"]) for row in rows if row["status"] == SKIPPED)
    text = (tmp_path / "results.md").read_text()
    for row in rows:
        assert f"| {row['name']} |" in text
    names = " ".join(row["name"] for row in rows)
    for expected in ("SDPA", "FlexAttention", "torch.compile", "kernels, with gradients", "MaskCLIP, bf16, kernels"):
        assert expected in names
    assert "masq_tuning, bf16, kernels" in names
    # Kernels, by the interpreter, train as plain PyTorch does.
    losses = {
        row["name"]: row["values"]["loss"] for rows in sections.values() for row in rows if "loss" in row["values"]
    }
    for stage in ("teacher", "student", "rma", "masq_tuning"):
        kernels, plain = (losses[f"{stage}, fp32, {name}"] for name in ("kernels", "plain torch"))
        assert kernels == pytest.approx(plain, rel=1e-3)


def test_rows_are_skipped_when_the_time_is_used_up(run):
    done, sections = run("--only", "machine", "--seconds", "0")
    rows = [row for rows in sections.values() for row in rows]
    assert done.returncode == 0 and rows
    assert {(row["status"], row["reason"]) for row in rows} == {(SKIPPED, "the time of this section is used up")}


def supervised(monkeypatch, tmp_path, worker, *words):
    """Run the supervisor with another script for a worker, and return its report and whether it finished."""
    script = tmp_path / "worker.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(SCRIPT.parents[1])!r})\n{worker}")
    monkeypatch.setattr(gpu, "__file__", str(script))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--output", str(tmp_path), *words])
    finished = gpu.supervise(gpu.parse_args())
    return finished, {row["name"]: row for row in Report(tmp_path, 0).state["sections"][0]["rows"]}


WORKER = """
import os, time
from pathlib import Path
from benchmarks.gpu_sections.report import Report
report = Report(Path(sys.argv[sys.argv.index("--output") + 1]), 60)
report.begin("rows", {"value": "{}"}, 1.0)
report.row("first", lambda: {"value": os.getpid()})
report.row("second", lambda: END)
report.row("third", lambda: {"value": os.getpid()})
"""


@pytest.mark.parametrize(
    "end, reason",
    [("os._exit(139)", "the process ended with exit code 139"), ("time.sleep(60)", "no result after 3 seconds")],
)
def test_a_row_that_ends_the_process_or_never_ends(monkeypatch, tmp_path, end, reason):
    finished, rows = supervised(monkeypatch, tmp_path, WORKER.replace("END", end), "--row-seconds", "3")
    assert finished and list(rows) == ["first", "second", "third"]
    assert (rows["second"]["status"], rows["second"]["reason"]) == (FAILED, reason)
    assert rows["first"]["status"] == rows["third"]["status"] == DONE
    assert rows["first"]["values"] != rows["third"]["values"]  # of two processes


def test_a_process_that_cannot_start_is_not_started_again(monkeypatch, tmp_path, capsys):
    Report(tmp_path, 0).begin("rows", {}, 1.0)
    Report(tmp_path, 0).save()
    script = tmp_path / "worker.py"
    script.write_text("raise SystemExit(3)")
    monkeypatch.setattr(gpu, "__file__", str(script))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--output", str(tmp_path)])
    assert not gpu.supervise(gpu.parse_args())
    assert "The benchmark stopped: the process ended with exit code 3" in capsys.readouterr().out


def test_a_failed_row_sets_the_exit_code(monkeypatch, tmp_path):
    def fail(args):
        report = Report(args.output, 60)
        report.begin("rows", {}, 1.0)
        report.row("wrong", lambda: {"failure": "too large an error"})
        return True

    monkeypatch.setattr(gpu, "supervise", fail)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        gpu.main()
    assert stopped.value.code == 1


def test_the_measuring_process_ends_with_the_supervisor(tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = f"import sys; from benchmarks import gpu; gpu.__file__ = {str(worker)!r}; gpu.main()"
    process = subprocess.Popen([sys.executable, "-c", code, "--output", tmp_path], cwd=SCRIPT.parents[1])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=10) == 143
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(int((tmp_path / "pid").read_text()), 0)
            time.sleep(0.05)
