"""run_stages: the command line of all stages of a method."""

import re
import subprocess

import pytest

from masqclip_d2.cli.run_stages import main


def test_dry_run_prints_commands_and_runs_none(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a dry run ran something"))
    main(["shapes/maskclip", "--dry-run", "--num-gpus", "0", "--output-root", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "--resume" in lines[0] and "--eval-only" in lines[2]
    assert re.search(r"--config-file \S*shapes/maskclip.yaml --num-gpus 0", lines[1])


def test_unknown_config_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["shapes/masclip", "--num-gpus", "0"])
    error = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and error.startswith("error: ") and "shapes/masqclip" in error
