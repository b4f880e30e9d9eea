"""The built wheel has every file of the package and one console command, and works in an empty folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: setuptools would leave its build folder, and find files of earlier ones in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("masqclip_d2", "configs", "tests", "projects"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, source]
    built = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert built.returncode == 0, built.stderr[-2000:]
    assert (
        "importable" not in built.stderr + built.stdout
    )  # setuptools warns of folders that are not listed as packages
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder for PYTHONPATH with the contents of the wheel."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.slow
def test_the_source_archive_has_the_package_alone(tmp_path):
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("masqclip_d2", "configs", "tests", "projects"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    code = "from setuptools.build_meta import build_sdist; build_sdist('.')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=900, check=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if name.count("/") > 1}
    assert folders == {"masqclip_d2", "masqclip_d2.egg-info", "configs"}


@pytest.mark.slow
def test_the_wheel_has_the_files_of_the_checkout(site):
    expected = {
        Path(inside, path.relative_to(ROOT / folder))
        for folder, inside in (("masqclip_d2", "masqclip_d2"), ("configs", "masqclip_d2/configs"))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    contents = {path.relative_to(site) for path in site.rglob("*") if path.is_file()}
    assert {path for path in contents if not path.parts[0].endswith(".dist-info")} == expected
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    assert entry_points.read_text().split("\n")[:2] == ["[console_scripts]", "masqclip = masqclip_d2.__main__:main"]


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_folder(site, tmp_path):
    environment = {"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    code = (
        "import masqclip_d2, pathlib; from masqclip_d2.config import load_config;"
        "from masqclip_d2.config_files import config_dir;"
        f"site = pathlib.Path({str(site)!r});"
        "assert pathlib.Path(masqclip_d2.__file__).is_relative_to(site) and config_dir().is_relative_to(site);"
        "load_config('shapes/teacher'); masqclip_d2.load_vocabulary('coco_panoptic/openseg');"
        "assert masqclip_d2.detectron2_backend().kind == 'bundled';"
        "from masqclip_d2.cli.main import main; main(['demo', '--vocab', 'plain cross', '--output', 'out'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={**environment, "MASQCLIP_D2": "bundled"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert list((tmp_path / "out").glob("*.png"))
