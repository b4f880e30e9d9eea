"""The verb `download`."""

import hashlib

import pytest

from masqclip_d2.cli.download import main
from masqclip_d2.hub import place_of

CONTENT = b"\x80 some weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_sources_are_downloaded_and_then_checked(file_server, capsys):
    url = file_server.add("/m.pth", CONTENT)
    file_server.add("/o/r/resolve/main/m.pth", CONTENT)
    names = [url, "hf://o/r/m.pth"]
    main(names)
    paths = [place_of(name).path for name in names]
    assert capsys.readouterr().out.splitlines() == [f"{path}: 14 bytes, downloaded, sha256 {SHA256}" for path in paths]
    main(names)
    assert capsys.readouterr().out.count("was on this disk") == 2 and len(file_server.requests) == 2


def test_a_changed_file_is_refused_until_it_is_downloaded_again(file_server, capsys):
    url = file_server.add("/m.pth", CONTENT)
    main([url])
    path = place_of(url).path
    path.write_bytes(b"\x80 something else")
    assert f"{path} was changed since it was stored" in fails(capsys, url)
    main(["--again", url])
    assert path.read_bytes() == CONTENT


def test_a_failure_does_not_stop_the_others(file_server, capsys):
    url = file_server.add("/m.pth", CONTENT)
    error = fails(capsys, f"{file_server.url}/none.pth", "maskclip.pth", url)
    assert "HTTP 404" in error and "'maskclip.pth' is neither a configuration nor a file on a server" in error
    assert error.endswith(f"error: 2 of 3 failed: maskclip.pth, {file_server.url}/none.pth. The others are there.\n")
    assert place_of(url).path.is_file()
    assert fails(capsys, "maskclip.pth", "masqclip.pth").endswith("error: 2 of 2 failed: maskclip.pth, masqclip.pth.\n")


def test_names_of_clips(file_server, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "ViT-L/14@336px is not on this disk" in fails(capsys, "ViT-L/14@336px")
    error = fails(capsys, "open_clip:ViT-L-14-336/openai")
    assert "hf/timm/vit_large_patch14_clip_336.openai/main" in error and "HF_HUB_OFFLINE forbids downloads" in error


def test_all_that_a_configuration_needs(file_server, capsys, tmp_path):
    urls = [file_server.add(path, CONTENT) for path in ("/clip.pt", "/proposer.pth")]
    config = tmp_path / "mine.yaml"
    clip = f"{{MASQCLIP: {{CLIP: {{NAME: {urls[0]}}}}}, WEIGHTS: {urls[1]}}}"
    config.write_text(f"_BASE_: maskclip_r50\nMODEL: {clip}\n")
    main([str(config)])
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        str(place_of(url).path) for url in urls
    ]
    file_server.files["/clip.pt"].status = 404
    error = fails(capsys, "--again", str(config))
    assert f"error: 1 of 2 failed: {urls[0]}. The others are there." in error and place_of(urls[1]).path.is_file()
    assert "The configuration shapes/masqclip names no weights" in fails(capsys, "shapes/masqclip")
