"""One command with verbs: quick help without PyTorch, near matches, and registration as soon as a verb runs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from masqclip_d2 import __version__
from masqclip_d2.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
VERBS = [
    "train", "demo", "doctor", "check-data", "prepare", "make-shapes", "run-stages", "evaluate-predictions", "convert",
    "export", "label", "app", "serve", "vocabulary", "models", "download",
]  # fmt: skip
SCRIPTS = ("train_net.py", "demo/demo.py", "datasets/prepare_coco.py", "datasets/make_shapes.py")
# As pip writes it.
CONSOLE_SCRIPT = "import sys\nfrom masqclip_d2.__main__ import main\nsys.exit(main())\n"


def run_python(*words, cwd=ROOT, **variables):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env={**environment, **variables}, capture_output=True, text=True
    )


@pytest.fixture
def console_script(tmp_path):
    path = tmp_path / "masqclip"
    path.write_text(CONSOLE_SCRIPT)
    return path


def test_the_verbs():
    assert list(COMMANDS) == VERBS


def test_help_lists_every_verb_and_no_argument_prints_it_too(capsys):
    main([])
    without_arguments = capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert text == without_arguments
    for verb in VERBS:
        assert f"  {verb} " in text and COMMANDS[verb].summary in text


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and text.startswith(f"usage: masqclip {verb} ")
    assert COMMANDS[verb].summary.split()[0] in text


@pytest.mark.parametrize(
    ("verb", "hint"),
    [("trian", "Did you mean 'train'?"), ("check_data", "Did you mean 'check-data'?"), ("xyz", "Known verbs: train, ")],
)
def test_an_unknown_verb_names_the_nearest_one(verb, hint, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and f"there is no verb {verb!r}" in error and hint in error


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0 and capsys.readouterr().out == f"masqclip_d2 {__version__}\n"


def test_help_imports_neither_pytorch_nor_numpy_and_is_quick(console_script):
    """Half a second on an idle machine; on a loaded one, at most twelve bare starts of Python."""
    start = time.monotonic()
    run_python("-c", "")
    bare = time.monotonic() - start
    starts = (["-m", "masqclip_d2"], ["-X", "dev", "-m", "masqclip_d2"], [console_script])
    verbs = (["--help"], ["train", "--help"], ["prepare", "--help"], ["--version"])
    commands = [[*words, *rest] for words in starts for rest in verbs]
    for words in [*commands, *([script, "--help"] for script in SCRIPTS)]:
        start = time.monotonic()
        done = run_python("-X", "importtime", *words)
        seconds = time.monotonic() - start
        assert done.returncode == 0 and (__version__ in done.stdout or "usage: " in done.stdout), words
        imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
        assert "masqclip_d2.cli.command" in imported
        assert not imported & {"torch", "numpy", "detectron2", "PIL"}, words
        assert seconds < max(0.5, 12 * bare), words


def test_a_script_of_a_user_beside_ours_registers_on_import(tmp_path):
    for path in (tmp_path / "train_net.py", tmp_path / "datasets" / "prepare_mine.py"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "import masqclip_d2\nfrom detectron2.modeling import META_ARCH_REGISTRY\n"
            "print('MaskCLIP' in META_ARCH_REGISTRY)\n"
        )
        done = run_python(path)
        assert done.stdout == "True\n", done.stderr


def test_a_user_module_run_with_m_registers_with_detectron2_on_import(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import masqclip_d2\n"
        "from detectron2.data import DatasetCatalog\n"
        "from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY\n"
        "assert 'MaskCLIP' in META_ARCH_REGISTRY and 'ClipPretraining' in META_ARCH_REGISTRY\n"
        "assert 'TinyBackbone' in BACKBONE_REGISTRY and 'masqclip_ade20k_panoptic_val' in DatasetCatalog.list()\n"
        "assert all(hasattr(masqclip_d2, name) for name in masqclip_d2.__all__)\n"
    )
    done = run_python("-m", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_command_registers_before_a_verb_runs(console_script, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import masqclip_d2\nfrom detectron2.modeling import META_ARCH_REGISTRY\n"
        "assert 'MaskCLIP' in META_ARCH_REGISTRY\nprint(masqclip_d2.Vocabulary.__name__)\n"
    )
    done = run_python(console_script, "check-data", "--import", "mine.py", "no_such_dataset", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == "Vocabulary\n", done.stderr
    # The real Detectron2 makes torch warn before.
    assert "\nerror: No registered dataset matches 'no_such_dataset'." in "\n" + done.stderr


def test_a_missing_real_detectron2_is_one_line(tmp_path):
    done = run_python("-m", "masqclip_d2", "vocabulary", PYTHONPATH="", MASQCLIP_D2="real")
    assert done.returncode == 1 and done.stderr.startswith("error: MASQCLIP_D2=real, but"), done.stderr
    assert len(done.stderr.splitlines()) == 1
