#!/usr/bin/env python
"""Everything worth measuring on a GPU in one run of at most 8 minutes; results are written row by row.

    python benchmarks/gpu.py                          # on a CUDA GPU of compute capability 8.0 or more
    python benchmarks/gpu.py --only parity operators
    python benchmarks/gpu.py --device cpu --tiny      # a rehearsal without a GPU; kernels by Triton's interpreter

Sections (`SECTIONS`): machine and its ceilings; parity of all ops with the float32 references; time of each op beside
plain PyTorch, SDPA, FlexAttention and torch.compile; whole models; one training step of each stage. Models have random
weights of full size, and nothing is downloaded.

Prints each row, and writes results.json and results.md to the output folder. A row that fails, crashes or does not end
is a row with its error, and the run continues in a new process; the exit code is then 1. Rows for which no time is left
are listed as skipped.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.gpu_sections.report import FAILED, SKIPPED, Report

# Module in gpu_sections -> its weight when the remaining time is divided.
SECTIONS = {"machine": 0.6, "parity": 1.4, "operators": 2.2, "models": 2.8, "training": 1.2}
DEAD_DEVICE = 75  # exit code of a process whose CUDA context is lost, after an illegal memory access for example
GRACE = 20  # seconds after the end of the total time until a process is stopped


def main() -> None:
    args = parse_args()
    if args.worker:
        work(args)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `timeout` ends the other process too
    for name in ("results.json", "results.md"):
        (args.output / name).unlink(missing_ok=True)
    finished = supervise(args)
    report = Report(args.output, args.seconds)
    failed, skipped = report.count(FAILED), report.count(SKIPPED)
    print(f"\n{failed} rows failed, {skipped} were skipped. Results: {args.output / 'results.md'}")
    if failed or not finished:
        sys.exit(1)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, one repetition: times mean nothing")
    parser.add_argument("--output", type=Path, default=Path("output/gpu_benchmark"))
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), help="sections")
    parser.add_argument("--seconds", type=float, default=480, help="of the whole run")
    parser.add_argument("--row-seconds", type=float, default=150, help="after which a row counts as hanging")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def supervise(args: argparse.Namespace) -> bool:
    """Measure in a process of its own, and in another behind a row that ended it; False if it cannot go on."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "MASQCLIP_TEXT_CACHE": "off"}
    if args.device == "cpu" and importlib.util.find_spec("triton"):
        environment["TRITON_INTERPRET"] = "1"  # before the kernels are imported
    end = time.time() + args.seconds + GRACE
    while True:
        process = subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--worker"], env=environment)
        try:
            stopped = _wait(process, args, end)
        finally:
            process.kill()
        if process.returncode == 0:
            return True
        report = Report(args.output, args.seconds)
        reason = stopped or f"the process ended with exit code {process.returncode}"
        progressed = report.close_running(SKIPPED if stopped == "the total time is used up" else FAILED, reason)
        if time.time() > end - GRACE:
            return bool(stopped)
        if not progressed and process.returncode != DEAD_DEVICE:
            print(f"The benchmark stopped: {reason}.")
            return False


def _wait(process: subprocess.Popen, args: argparse.Namespace, end: float) -> str:
    """Wait for the process; the reason why it was stopped, or "" if it ended by itself."""
    results, begin = args.output / "results.json", time.time()
    while process.poll() is None:
        time.sleep(0.2)
        last_row = max(begin, results.stat().st_mtime) if results.exists() else begin
        reason = "the total time is used up" if time.time() > end else ""
        if time.time() - last_row > args.row_seconds:
            reason = f"no result after {args.row_seconds:.0f} seconds"
        if reason:
            process.kill()
            process.wait()
            return reason
    return ""


def work(args: argparse.Namespace) -> None:
    """Measure all rows that the report lacks."""
    from benchmarks.gpu_sections.settings import Settings

    settings = Settings.of(args.device, args.tiny)
    report = Report(args.output, args.seconds, lambda: _exit_if_dead(settings))
    names = [name for name in SECTIONS if name in args.only]
    for position, name in enumerate(names):
        share = SECTIONS[name] / sum(SECTIONS[later] for later in names[position:])
        module = importlib.import_module(f"benchmarks.gpu_sections.{name}")
        report.begin(module.TITLE, module.COLUMNS, share)
        try:
            module.measure(report, settings)
        except Exception as error:  # outside of a row: the other sections are measured all the same
            report.row("the rest of the section", partial(_raise, error))
        settings.release()


def _raise(error: Exception) -> NoReturn:
    raise error


def _exit_if_dead(settings) -> None:
    try:
        settings.release()
    except RuntimeError:
        os._exit(DEAD_DEVICE)  # the interpreter's own shutdown may hang or crash


if __name__ == "__main__":
    main()
