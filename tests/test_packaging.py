"""The built wheel holds everything: Python API, configs by name, shipped weights, samples, console commands."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_wheel_works_in_an_empty_directory(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    built = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        names = archive.namelist()
        scripts = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    assert "masqclip_d2/diagnostics/requirements.txt" in names  # the doctor reads it
    assert [line for line in scripts.splitlines() if "=" in line] == ["masqclip = masqclip_d2.__main__:main"]
    assert {"masqclip_d2/py.typed", "masqclip_d2/configs/maskclip_r50.yaml"} <= set(names)
    code = (
        "import masqclip_d2, pathlib; from masqclip_d2.config import load_config, config_dir;"
        "assert pathlib.Path(masqclip_d2.__file__).is_relative_to(pathlib.Path('site').resolve());"
        "load_config('shapes/teacher'); assert 'site' in config_dir().parts;"
        "masqclip_d2.load_vocabulary('coco_panoptic/openseg');"
        "print(masqclip_d2.detectron2_backend().kind);"
        "from masqclip_d2.cli.demo import main; main(['--vocab', 'plain cross', '--output', 'out'])"
    )
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "MASQCLIP_D2": "bundled"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "bundled" in done.stdout and list((tmp_path / "out").glob("*.png"))


def test_import_needs_no_gpu_code_and_no_heavy_packages():
    """What only some uses need is imported when it is used."""
    code = (
        "import sys, masqclip_d2;"
        "heavy = {'matplotlib', 'cv2', 'open_clip', 'scipy', 'tensorboard', 'triton', 'pycocotools'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "MASQCLIP_D2": "bundled"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
