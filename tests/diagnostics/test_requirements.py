"""Versions are compared as pip compares them; what is missing, too old or mismatched is told with its remedy."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from masqclip_d2.diagnostics import requirements
from masqclip_d2.diagnostics.requirements import LEAST_PYTHON, package_states, satisfies

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


def test_what_is_installed_here_will_do():
    states = package_states()
    assert all(state.right for state in states), [state for state in states if not state.right]
    assert [state.name for state in states[:3]] == ["python", "torch", "torchvision"]


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
    return {state.name: state for state in package_states()}


def test_missing_and_too_old(monkeypatch):
    states = versions(monkeypatch, fvcore=None, scipy="1.10.1")
    assert not states["fvcore"].right
    assert states["fvcore"].text == "is not installed: pip install 'fvcore>=0.1.5.post20221221'"
    assert states["scipy"].text == "1.10.1 will not do, >=1.11 is needed: pip install 'scipy>=1.11'"


def test_too_new(monkeypatch, tmp_path):
    (tmp_path / "requirements.txt").write_text("# a comment\nnumpy>=1.26,<1.27\n")
    monkeypatch.setattr(requirements, "REQUIREMENTS", tmp_path / "requirements.txt")
    states = versions(monkeypatch, numpy="2.4.6")
    assert not states["numpy"].right and "<1.27 is needed" in states["numpy"].text


def test_any_opencv_will_do(monkeypatch):
    hidden = {"opencv-python-headless": None, "opencv-contrib-python": "4.9.0.80"}
    assert versions(monkeypatch, **hidden)["opencv-python-headless"].right


def test_torch_and_torchvision_are_a_pair(monkeypatch):
    monkeypatch.setattr(requirements.metadata, "requires", lambda name: ["numpy", "torch==2.6.0", "pillow!=8.3.*"])
    states = versions(monkeypatch, torch="2.6.0+cu124", torchvision="0.21.0")
    assert states["torchvision"].right
    states = versions(monkeypatch, torch="2.7.0", torchvision="0.21.0")
    assert not states["torchvision"].right
    assert states["torchvision"].text.startswith("0.21.0 is for torch 2.6.0, but 2.7.0 is installed: pip install")


def test_setup_says_the_same():
    setup = (ROOT / "setup.py").read_text()
    assert re.search(r'python_requires="(.*)"', setup)[1] == f">={LEAST_PYTHON}"
    assert "install_requires=requirements()" in setup and '"requirements.txt"' in setup


def test_a_python_without_any_package_is_told_what_is_missing():
    """-S: no site-packages, as in an environment where nothing was installed."""
    # Nor is a Detectron2 insisted on, whose absence would be told in place of the package's.
    environment = {name: value for name, value in os.environ.items() if name != "MASQCLIP_D2"}
    words = [sys.executable, "-S", "-E", str(ROOT / "tools" / "doctor.py")]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and not done.stderr
    assert re.search(r"WRONG +torch +is not installed: pip install 'torch>=2.6'", done.stdout)
    assert "WRONG  masqclip_d2 cannot be imported: " in done.stdout
    assert "cannot be imported: No module named" in done.stdout
