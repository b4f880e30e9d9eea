import sys

from benchmarks import web_page


def test_the_toy_model_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["web_page.py"])
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", "off")  # restored at the end
    web_page.main()
    assert "of it; files" in capsys.readouterr().out
