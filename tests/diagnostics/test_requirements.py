"""Versions compare as in pip; a missing, too old or mismatched package is a failed check with a fix."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from masqclip_d2.diagnostics import requirements
from masqclip_d2.diagnostics.requirements import MIN_PYTHON, REQUIREMENTS, check_packages, satisfies

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    "version, conditions, expected",
    [
        ("2.6.0", ">=2.6", True),
        ("2.6", ">=2.6.0", True),
        ("2.15.0+cu132", ">=2.6", True),  # 15 is more than 6
        ("2.5.1", ">=2.6", False),
        ("2.6.0rc1", ">=2.6", True),
        ("0.1.5", ">=0.1.5.post20221221", False),
        ("0.1.5.post20230101", ">=0.1.5.post20221221", True),
        ("3.0", ">=2.6,<3", False),
        ("2.9", ">=2.6,<3", True),
        ("2.6.0+cpu", "==2.6.0", True),
        ("2.6.1", "==2.6.0", False),
        ("1.0", "", True),
    ],
)
def test_versions(version, conditions, expected):
    assert satisfies(version, conditions) is expected


def test_the_packages_installed_here_pass():
    states = check_packages()
    assert all(state.ok for state in states), [state for state in states if not state.ok]
    assert [state.subject for state in states[:3]] == ["python", "torch", "torchvision"]


def versions(monkeypatch, **changed):
    """Pretend other versions; None: not installed."""
    real = metadata.version

    def version(name):
        if name not in changed:
            return real(name)
        if changed[name] is None:
            raise metadata.PackageNotFoundError(name)
        return changed[name]

    monkeypatch.setattr(requirements.metadata, "version", version)
    return {state.subject: state for state in check_packages()}


def test_missing_and_too_old(monkeypatch):
    states = versions(monkeypatch, fvcore=None, scipy="1.10.1")
    assert not states["fvcore"].ok
    assert states["fvcore"].message == "not installed: pip install 'fvcore>=0.1.5.post20221221'"
    assert states["scipy"].message == "found 1.10.1, need >=1.11: pip install 'scipy>=1.11'"


def test_too_new(monkeypatch, tmp_path):
    (tmp_path / "requirements.txt").write_text("# a comment\nnumpy>=1.26,<1.27\n")
    monkeypatch.setattr(requirements, "REQUIREMENTS", tmp_path / "requirements.txt")
    states = versions(monkeypatch, numpy="2.4.6")
    assert not states["numpy"].ok and "need >=1.26,<1.27" in states["numpy"].message


def test_any_distribution_of_opencv_passes(monkeypatch):
    hidden = {"opencv-python-headless": None, "opencv-contrib-python": "4.9.0.80"}
    assert versions(monkeypatch, **hidden)["opencv-python-headless"].ok


def test_torch_and_torchvision_are_a_pair(monkeypatch):
    monkeypatch.setattr(requirements.metadata, "requires", lambda name: ["numpy", "torch==2.6.0", "pillow!=8.3.*"])
    states = versions(monkeypatch, torch="2.6.0+cu124", torchvision="0.21.0")
    assert states["torchvision"].ok
    states = versions(monkeypatch, torch="2.7.0", torchvision="0.21.0")
    assert not states["torchvision"].ok
    assert states["torchvision"].message.startswith("0.21.0 is for torch 2.6.0, but 2.7.0 is installed: pip install")


def test_the_distribution_declares_the_same_requirements():
    text = (ROOT / "pyproject.toml").read_text()
    assert f'requires-python = ">={MIN_PYTHON}"' in text
    assert f'dependencies = {{ file = ["{REQUIREMENTS.relative_to(ROOT)}"] }}' in text


def run_without_packages(*words):
    """-S: no site-packages, as in an environment where nothing is installed."""
    # Without MASQCLIP_D2, whose error about a missing Detectron2 would come first.
    environment = {name: value for name, value in os.environ.items() if name != "MASQCLIP_D2"}
    words = [sys.executable, "-S", *words]
    return subprocess.run(words, cwd=ROOT, env={**environment, "PYTHONPATH": ""}, capture_output=True, text=True)


def test_the_doctor_names_the_missing_packages_where_nothing_is_installed():
    done = run_without_packages("-m", "masqclip_d2", "doctor")
    assert done.returncode == 1 and not done.stderr
    assert re.search(r"FAILED +torch +not installed: pip install 'torch>=2.6'", done.stdout)
    assert re.search(r"FAILED +masqclip_d2 +cannot be imported: No module named", done.stdout)


def test_the_file_runs_on_its_own():
    done = run_without_packages(str(REQUIREMENTS.with_name("requirements.py")))
    assert done.returncode == 1 and not done.stderr
    assert "FAILED  torch  not installed: pip install 'torch>=2.6'" in done.stdout
