import sys

import pytest

from projects.notebooks.cells import CellRunner


def texts(outputs):
    return ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs]


def test_cells_share_variables_and_show_prints_displayed_values_and_the_last_expression():
    runner = CellRunner()
    assert runner.run("a = 1\nprint('first')") == [{"output_type": "stream", "name": "stdout", "text": ["first\n"]}]
    outputs = runner.run("print(a)\ndisplay([a, 2])\nprint('x')\na + 1")
    assert texts(outputs) == ["1\n", "[1, 2]", "x\n", "2"]
    assert outputs[-1]["execution_count"] == 2
    assert runner.run("a;") == [] and runner.run("None") == [] and runner.run("") == []


def test_commands_are_run_and_their_lines_printed_or_kept():
    runner = CellRunner()
    assert texts(runner.run(f"!{sys.executable} -c \\\n    'print(1); print(2)'\n\"end\"")) == ["1\n2\n", "'end'"]
    assert texts(runner.run(f"lines = !{sys.executable} -c 'print(1); print(2)'\nlines[-1]")) == ["'2'"]
    with pytest.raises(RuntimeError, match="ended with 3"):
        runner.run(f"!{sys.executable} -c 'raise SystemExit(3)'")


def test_a_failing_cell_is_named():
    runner = CellRunner()
    runner.run("x = 0")
    with pytest.raises(RuntimeError, match=r"Cell 2 has failed: ZeroDivisionError: .*\n1 / x"):
        runner.run("1 / x")
