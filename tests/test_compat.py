"""The choice of Detectron2: each test runs `_compat.py` in a fresh interpreter without site-packages.

The "real" Detectron2 of these tests is a folder with an `__init__.py`; an installed one is not visible to them.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import masqclip_d2

COMPAT = Path(masqclip_d2.__file__).with_name("_compat.py")
BUNDLED = COMPAT.parent / "_bundled"
PRELUDE = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("compat", {str(COMPAT)!r})
compat = sys.modules["compat"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
BUNDLED = {str(BUNDLED)!r}
"""
REPORT = """
compat.install()
backend = compat.detectron2_backend()
print(backend.kind, backend.version, sys.path.count(BUNDLED))
"""


@pytest.fixture
def real(tmp_path) -> str:
    """A folder for PYTHONPATH with a fake real Detectron2."""
    package = tmp_path / "checkout" / "detectron2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.6"\n')
    return str(package.parent)


def run(code: str, choice: str | None = None, path: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in ("MASQCLIP_D2", "PYTHONPATH")}
    if choice is not None:
        environment["MASQCLIP_D2"] = choice
    if path:
        environment["PYTHONPATH"] = path
    command = [sys.executable, "-S", "-c", PRELUDE + textwrap.dedent(code)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60)


def output(code: str, **kwargs) -> str:
    result = run(code, **kwargs)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def error(code: str, **kwargs) -> str:
    result = run(code, **kwargs)
    assert result.returncode != 0, result.stdout
    return result.stderr.strip().splitlines()[-1]


SUBSET = "bundled 0.6+masqclip.subset 1"


@pytest.mark.parametrize("choice", [None, "auto", "bundled"])
def test_bundled_without_a_real_one(choice):
    assert output(REPORT, choice=choice) == SUBSET


@pytest.mark.parametrize("choice", [None, "auto", "real"])
def test_a_real_one_is_used(real, choice):
    assert output(REPORT, choice=choice, path=real) == "real 0.6 0"


def test_bundled_can_be_forced(real):
    assert output(REPORT, choice="bundled", path=real) == SUBSET


def test_real_can_be_required():
    message = error(REPORT, choice="real")
    assert message.startswith("ImportError: MASQCLIP_D2=real") and "PYTHONPATH" in message


@pytest.mark.parametrize("choice", ["Real", "", "yes"])
def test_other_choices_are_refused(choice):
    assert (
        error(REPORT, choice=choice) == f"ValueError: MASQCLIP_D2 is {choice!r}; expected one of auto, real, bundled."
    )


def test_a_folder_without_init_is_no_detectron2(tmp_path):
    (tmp_path / "detectron2" / "projects").mkdir(parents=True)
    assert output(REPORT, cwd=tmp_path) == SUBSET
    assert output("sys.path.insert(0, '')\n" + REPORT, cwd=tmp_path) == SUBSET


def test_a_stray_folder_does_not_hide_a_real_one(tmp_path, real):
    (tmp_path / "stray" / "detectron2").mkdir(parents=True)
    path = os.pathsep.join((str(tmp_path / "stray"), real))
    assert output(REPORT, path=path) == "real 0.6 0"


def test_a_real_one_behind_an_editable_finder(real):
    finder = f"""
    import importlib.machinery
    class Editable:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "detectron2":
                return importlib.machinery.PathFinder.find_spec(name, [{real!r}])
    sys.meta_path.append(Editable)
    """
    assert output(textwrap.dedent(finder) + REPORT) == "real 0.6 0"


def test_a_finder_that_fails_counts_as_no_real_one():
    finder = """
    class Broken:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "detectron2" and BUNDLED not in sys.path:
                raise ValueError("broken")
    sys.meta_path.insert(0, Broken)
    """
    assert output(textwrap.dedent(finder) + REPORT) == SUBSET


def test_installing_twice_changes_nothing():
    assert output("compat.install()\ncompat.install()\n" + REPORT) == SUBSET
    assert output("compat.install()\nimport detectron2\n" + REPORT) == SUBSET


def test_the_decision_stays_when_a_real_one_appears_later(real):
    assert output(f"compat.install()\nsys.path.append({real!r})\n" + REPORT) == SUBSET


def test_detectron2_before_masqclip_d2(real):
    assert error("import detectron2\n" + REPORT).startswith("ModuleNotFoundError")
    assert output("import detectron2\n" + REPORT, path=real) == "real 0.6 0"
    message = error("import detectron2\n" + REPORT, choice="bundled", path=real)
    assert message.startswith("ImportError") and "before detectron2" in message


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_child_processes_see_the_bundled_one(method):
    # As in a notebook, the children have no importable main module; they do not import masqclip_d2.
    code = f"""
    if __name__ == "__main__":
        import multiprocessing
        compat.install()
        process = multiprocessing.get_context({method!r}).Process(
            target=exec, args=("import detectron2; assert detectron2.__bundled__",)
        )
        process.start()
        process.join()
        print(process.exitcode)
    """
    assert output(code) == "0"


@pytest.mark.parametrize("name", ["masqclip_d2._bundled.detectron2", "masqclip_d2._bundled.detectron2.config"])
def test_the_bundled_one_has_one_name(name):
    with pytest.raises(ImportError, match="must not be imported"):
        importlib.import_module(name)


def test_bundled_folder_is_no_package():
    assert not (BUNDLED / "__init__.py").exists(), "it would make masqclip_d2._bundled a package"


def test_backend_of_this_process():
    import detectron2

    backend = masqclip_d2.detectron2_backend()
    assert backend.kind == ("bundled" if getattr(detectron2, "__bundled__", False) else "real")
    assert backend.version == detectron2.__version__
    assert Path(backend.path) == Path(detectron2.__file__).parent
    assert backend.kind in str(backend) and backend.version in str(backend)
    choice = os.environ.get("MASQCLIP_D2", "auto")
    assert choice in ("auto", backend.kind)


def test_importing_the_config_is_fast():
    """It imports yacs and fvcore, but neither torch nor image packages."""
    if masqclip_d2.detectron2_backend().kind == "real":
        pytest.skip("the real one imports everything")
    code = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import detectron2.config
    detectron2.config.get_cfg()
    print(sorted({"torch", "cv2", "matplotlib", "pycocotools", "scipy", "PIL"} & set(sys.modules)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(BUNDLED)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stderr
