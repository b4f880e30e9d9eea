"""Progress is shown in terminals only."""

import io

import pytest

from masqclip_d2.batch.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_the_number_of_images_and_the_time_left():
    terminal = Terminal()
    with Progress(3, terminal) as progress:
        progress.advance()
        progress.advance()
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[1] == "0 of 3 images" and lines[2].startswith("1 of 3 images, 0 s left") and lines[-1] == ""


def test_an_unknown_number_of_frames_has_no_end():
    terminal = Terminal()
    with Progress(None, terminal, "frames") as progress:
        progress.advance()
    assert terminal.getvalue().split("\r\x1b[K")[1:] == ["0 frames", "1 frames", ""]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_files_and_single_images_show_nothing(stream):
    with Progress(1 if stream.isatty() else 3, stream) as progress:
        progress.advance()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (119, "119 s"), (150, "2 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text
