"""Commands answer a user's mistake with one sentence and exit code 1, and keep tracebacks of our own faults."""

import errno
import io
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from masqclip_d2.cli.command import command
from masqclip_d2.config import load_config


@pytest.mark.parametrize("error", [ValueError, KeyError, FileNotFoundError, ImportError])
def test_user_errors_become_one_line(error, capsys):
    @command
    def main():
        raise error("wrong word")

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {error.__name__}: wrong word"


def test_an_error_of_the_package_is_one_sentence(capsys):
    with pytest.raises(SystemExit):
        command(load_config)("shapes/teachr")
    assert capsys.readouterr().err.startswith("error: Config 'shapes/teachr' is neither")


def test_our_own_faults_keep_their_traceback():
    @command
    def main():
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError):
        main()


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("MASQCLIP_DEBUG", "1")

    @command
    def main():
        raise ValueError("wrong word")

    with pytest.raises(SystemExit):
        main()
    assert "Traceback" in capsys.readouterr().err


def test_an_error_of_a_thread_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr("threading.excepthook", threading.excepthook)

    def run(error):
        def fail():
            raise error

        thread = threading.Thread(target=fail)
        command(lambda: (thread.start(), thread.join()))()
        return capsys.readouterr().err

    text = run(OSError(errno.ENOSPC, "No space left on device", b"events"))
    assert text.endswith("events: No space left on device. Free some space, or choose another folder.\n")
    assert "most recent call last" not in text and "most recent call last" in run(ZeroDivisionError("ours"))


def test_value_is_passed_on():
    assert command(lambda x: x + 1)(2) == 3


def run_into(reader, *words):
    """(exit code of `masqclip WORDS`, its messages) while `reader`, a shell command, reads its output."""
    masqclip = f"{shlex.quote(sys.executable)} -m masqclip_d2 {shlex.join(words)}"
    result = subprocess.run(
        ["bash", "-c", f"{masqclip} {reader}; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    return result.returncode, result.stderr


def test_a_reader_that_stops_ends_the_command_silently():
    code, message = run_into("| true", "doctor")
    assert code == 141 and "rror" not in message and "Traceback" not in message


def test_a_closed_output_and_characters_that_the_terminal_lacks(monkeypatch):
    command(lambda: print("5 segments"))()
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", latin)
    command(lambda: print("a \u732b"))()
    assert latin.buffer.getvalue() == b"a \\u732b\n"  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr("sys.stdout", None)
    command(lambda: None)()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full disk")
def test_a_full_disk_is_one_sentence():
    code, message = run_into("> /dev/full", "models")
    expected = "error: No space left on device. Free some space, or choose another folder."
    assert code == 1 and message.splitlines()[-1] == expected  # packages may warn before
