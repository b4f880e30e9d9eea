"""Errors of this package are one sentence; errors of a user's own code show where in it they were raised."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import masqclip_d2
from masqclip_d2.config import load_config
from masqclip_d2.data.mappers import require_keys
from masqclip_d2.error_report import error_report, is_user_error
from masqclip_d2.user_code import import_user_code


def raised(function, *arguments) -> BaseException:
    with pytest.raises(Exception) as caught:
        function(*arguments)
    return caught.value


class Records(torch.utils.data.Dataset):
    """One record, made by a function: in a worker of a data loader."""

    def __init__(self, function):
        self.function = function

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.function({"file_name": "a.png"})


def in_worker(function) -> BaseException:
    return raised(list, DataLoader(Records(function), num_workers=1))


def of_package(record):
    require_keys(record, "sem_seg_file_name")


def of_user(record):
    return record["depth"]


def test_an_error_of_the_package_is_one_sentence():
    error = raised(load_config, "shapes/teachr")
    assert error_report(error) == f"error: {error}\n"


@pytest.mark.parametrize("error", [ValueError("two\n  lines"), KeyError("two lines"), ImportError("two lines")])
def test_the_message_is_on_one_line(error):
    assert error_report(error) == "error: two lines\n"


def test_an_error_without_message_has_its_name():
    assert error_report(ValueError()) == "error: ValueError\n"


def test_the_subject_is_named_once():
    assert (
        error_report(OSError(28, "No space"), "a.png")
        == "error: a.png: No space. Free some space, or choose another folder.\n"
    )
    assert error_report(ValueError("Image a.png is empty."), "a.png") == "error: Image a.png is empty.\n"


def test_an_error_of_the_users_code_shows_its_place():
    report = error_report(raised(of_user, {}))
    assert report.startswith("Traceback of your code:\n") and report.endswith("error: KeyError: depth\n")
    assert f'File "{__file__}"' in report and 'return record["depth"]' in report


def test_frames_of_the_package_are_left_out(tmp_path):
    path = tmp_path / "my_parts.py"
    path.write_text("number = 1\nnumber = int('x')\n")
    report = error_report(raised(import_user_code, [path]))
    assert f'File "{path}", line 2' in report and "user_code.py" not in report
    assert report.endswith("error: ValueError: invalid literal for int() with base 10: 'x'\n")


def test_the_package_called_by_the_user_is_one_sentence(tmp_path):
    path = tmp_path / "my_data.py"
    path.write_text("import masqclip_d2\nmasqclip_d2.register_instances('my_val', 'nowhere', 'nowhere.json')\n")
    report = error_report(raised(import_user_code, [path]))
    assert report.startswith("error: Dataset 'my_val': there is no image folder nowhere") and report.count("\n") == 1


def test_a_former_name_of_an_argument_is_one_sentence(tmp_path):
    path = tmp_path / "my_data.py"
    path.write_text("import masqclip_d2\nmasqclip_d2.register_semantic('mine', 'a', 'b', 'c', image_ending='.png')\n")
    error = raised(import_user_code, [path])
    assert is_user_error(error)
    expected = "register_semantic: the argument 'image_ending' is now called 'image_suffix'."
    assert error_report(error) == f"error: {expected}\n"


def test_a_library_called_by_the_user_is_the_users_code():
    report = error_report(raised(lambda: Path("nowhere.json").read_text()))
    assert __file__ in report and "nowhere.json" in report.splitlines()[-1]


def test_a_worker_error_of_the_package_is_one_sentence():
    report = error_report(in_worker(of_package))
    assert report.startswith("error: The record of a.png has no sem_seg_file_name") and report.count("\n") == 1


def test_a_worker_error_of_the_users_code_shows_its_place():
    report = error_report(in_worker(of_user))
    assert report.startswith("Traceback of your code:\n") and report.endswith("error: KeyError: depth\n")
    assert 'return record["depth"]' in report and "_worker_loop" not in report


def of_a_process(index):
    load_config("shapes/teacher", ["SOLVER.MAXITER", "3"])


def with_a_bug(index):
    raise ZeroDivisionError("two")


def in_process(function) -> BaseException:
    return raised(torch.multiprocessing.spawn, function)


def test_an_error_in_a_process_of_a_training_is_one_sentence():
    error = in_process(of_a_process)
    assert is_user_error(error)
    report = error_report(error)
    assert report.startswith("error: Unknown config key 'SOLVER.MAXITER'") and report.count("\n") == 1


def test_an_error_of_the_system_in_a_process_names_its_file():
    text = (
        "\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n"
        f'  File "{masqclip_d2.__file__}", line 1, in save\n    save()\n'
        "OSError: [Errno 28] No space left on device: 'a.pth'\n"
    )
    expected = "error: a.pth: No space left on device. Free some space, or choose another folder.\n"
    assert error_report(RuntimeError(text)) == expected


def test_a_bug_in_a_process_of_a_training_is_no_user_error():
    assert not is_user_error(in_process(with_a_bug)) and not is_user_error(ZeroDivisionError("two"))


def test_an_error_of_the_system_names_its_file():
    assert error_report(OSError(21, "Is a directory", "out")) == "error: out: Is a directory.\n"
    assert error_report(OSError(18, "Invalid link", "a", None, "b")) == "error: a -> b: Invalid link.\n"
    assert error_report(MemoryError()) == "error: There is not enough memory.\n"
    assert is_user_error(OSError(28, "No space")) and is_user_error(MemoryError())


def test_characters_that_control_a_terminal_are_spelled_out():
    assert error_report(ValueError("the name \x1b[31mred\u202e")) == "error: the name \\x1b[31mred\\u202e\n"


def test_long_values_from_files_are_cut():
    report = error_report(ValueError("begin " + "x" * 10_000_000 + " end"))
    assert len(report) < 10_100 and report.startswith("error: begin xx") and report.endswith("xx end\n")
