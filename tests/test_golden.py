"""Every golden set of tests/golden is compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.check_golden import check_path, main

GOLDEN = Path(__file__).parent / "golden"

# Not a set of outputs: names and shapes of published checkpoints, read by the checkpoint tests.
NOT_NUMERIC = {"checkpoint_keys.json"}

SETS = sorted(path.name for path in GOLDEN.iterdir() if path.name not in NOT_NUMERIC)


@pytest.mark.parametrize("name", SETS)
def test_agrees_with_the_published_implementation(name):
    rows = list(check_path(GOLDEN / name))
    assert rows
    assert [row for row in rows if not row.passed] == []


def test_command_passes_and_fails_by_exit_code(tmp_path, capsys):
    good, bad = GOLDEN / "pq_A", tmp_path / "pq_B"
    shutil.copytree(good, bad)
    expected = json.loads((bad / "expected.json").read_text())
    expected["All"]["pq"] += 1e-6
    (bad / "expected.json").write_text(json.dumps(expected))

    assert main([str(good)]) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert main([str(bad), str(good)]) == 1
    printed = capsys.readouterr().out
    assert "1 FAILED" in printed
    assert any(line.split()[:2] == ["All", "pq"] and line.endswith("FAILED") for line in printed.splitlines())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b""), "FAILED"),
        (lambda path: np.savez(path, a=np.zeros(2)), "no array 'meta'"),
        (lambda path: np.savez(path, meta=json.dumps({"what": "something else"})), "no check for a golden set"),
        (lambda path: path.mkdir(), "gt.json, gt_png, pred.json, pred_png, expected.json missing"),
    ],
    ids=["absent", "empty file", "without meta", "unknown kind", "empty folder"],
)
def test_command_names_what_it_cannot_check(tmp_path, capsys, make, message):
    path = tmp_path / "set.npz"
    make(path)
    assert main([str(path)]) == 1
    assert message in capsys.readouterr().out


def test_command_refuses_a_check_that_compares_nothing(monkeypatch, capsys):
    monkeypatch.setattr("tests.check_golden.check_path", lambda path: iter(()))
    assert main(["anything.npz"]) == 1
    assert "compared nothing" in capsys.readouterr().out
