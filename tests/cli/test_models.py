import importlib.util
import json

from masqclip_d2.cli.main import main
from masqclip_d2.presets import PRESETS


def test_every_model_with_license_and_state(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MASQCLIP_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    main(["models"])
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed for name in PRESETS)
    assert "ready: on this disk" in printed and "downloads up to 1.1 GB" in printed and "CC BY-NC" in printed
    main(["models", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["shapes"]["on_this_disk"] and not rows["photos"]["on_this_disk"]
    assert rows["photos-swin"]["missing_files"] == 2
    assert rows["masqclip"]["needs"] and not rows["masqclip"]["on_this_disk"]


def test_a_missing_extra_is_what_a_model_needs(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    main(["models"])
    assert (
        "photos-eomt          needs pip install 'masqclip_d2[eomt]'; downloads up to 2.2 GB" in capsys.readouterr().out
    )
