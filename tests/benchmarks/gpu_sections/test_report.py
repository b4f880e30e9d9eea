import json

import pytest

from benchmarks.gpu_sections.report import DONE, FAILED, SKIPPED, Report, Skip


def raises(error):
    def measure():
        raise error

    return measure


@pytest.fixture
def report(tmp_path):
    report = Report(tmp_path, 60)
    report.begin("Times", {"ms": "{:.2f}", "note": "{}"}, 1.0)
    return report


def test_each_row_is_printed_and_on_disk_at_once(report, tmp_path, capsys):
    report.row("a", lambda: {"ms": 1.234, "note": "x | y"})
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["sections"][0]["rows"][0]["values"] == {"ms": 1.234, "note": "x | y"}
    assert "| a | 1.23 | x / y |  |" in (tmp_path / "results.md").read_text()
    assert "a: ms 1.23, note x | y" in capsys.readouterr().out


def test_errors_and_skipped_rows_are_rows(report, tmp_path, capsys):
    report.row("bad", raises(RuntimeError("out of\nmemory")))
    report.row("elsewhere", raises(Skip("needs a GPU")))
    report.row("wrong", lambda: {"ms": 2.0, "failure": "too slow"})
    report.row("last", lambda: {"ms": 1.0})
    rows = report.state["sections"][0]["rows"]
    assert [row["status"] for row in rows] == [FAILED, SKIPPED, FAILED, DONE]
    assert "bad: FAILED: RuntimeError: out of memory" in capsys.readouterr().out
    assert "| wrong | 2.00 |  | failed: too slow |" in (tmp_path / "results.md").read_text()
    assert report.count(FAILED) == 2


def test_a_failed_row_is_saved_before_the_device_is_checked(tmp_path):
    seen = []
    report = Report(tmp_path, 60, lambda: seen.append(json.loads((tmp_path / "results.json").read_text())))
    report.begin("rows", {}, 1.0)
    report.row("good", lambda: {})
    report.row("bad", raises(RuntimeError("illegal memory access")))
    (state,) = seen
    assert [row["status"] for row in state["sections"][0]["rows"]] == [DONE, FAILED]


def test_rows_of_an_earlier_process_are_kept(report, tmp_path):
    report.row("a", lambda: {"ms": 1.0})
    later = Report(tmp_path, 60)
    later.begin("Times", {"ms": "{:.2f}"}, 1.0)
    later.row("a", raises(AssertionError("measured twice")))
    later.row("b", lambda: {"ms": 2.0})
    assert [row["values"]["ms"] for row in later.state["sections"][0]["rows"]] == [1.0, 2.0]
    assert len(later.state["sections"]) == 1


def test_a_running_row_is_known_to_another_process(report, tmp_path):
    def measure():
        assert Report(tmp_path, 60).close_running(FAILED, "crashed")
        return {}

    report.row("a", measure)
    assert not Report(tmp_path, 60).close_running(FAILED, "crashed")


def test_time_that_a_section_leaves_is_for_the_later_ones(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmarks.gpu_sections.report.time.time", lambda: now[0])
    report = Report(tmp_path, 100)
    report.begin("first", {}, 0.5)
    now[0] = 20.0
    report.row("early", lambda: {})
    report.begin("second", {}, 0.5)  # of the remaining 80 seconds
    now[0] = 59.0
    report.row("in time", lambda: {})
    now[0] = 61.0
    report.row("late", raises(AssertionError("there is no time")))
    assert [row["status"] for row in report.state["sections"][1]["rows"]] == [DONE, SKIPPED]
