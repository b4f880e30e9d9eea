import json
import os

import pytest

from masqclip_d2.json_data import read_json

CONTENT = {"name": "\u6b63\u5e38"}  # Chinese


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_of_json_with_and_without_byte_order_mark(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, ensure_ascii=False), encoding=encoding)
    assert read_json(path) == CONTENT


@pytest.mark.parametrize("encoding, name", [("gbk", "GBK"), ("cp1252", "Windows-1252")])
def test_other_encodings_are_named(tmp_path, encoding, name):
    path = tmp_path / "a.json"
    text = "\u6b63\u5e38" if encoding == "gbk" else "\xe9t\xe9"
    path.write_bytes(json.dumps([text], ensure_ascii=False).encode(encoding))
    with pytest.raises(
        ValueError, match=rf"a\.json is not in UTF-8 \(byte 0x.. at position 2\), but prob.* {name}; save"
    ):
        read_json(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty; create or download it again"),
        (b" \n", "is empty"),
        (b'{"images": [', "is damaged or truncated"),
        (b"\xff\x00\xd5", "not in UTF-8|damaged or truncated"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"images": [{"id": 1, "id": 2}]}', "it has the key 'id' twice"),
        (b'{"id": ' + b"9" * 5000 + b"}", "is damaged or truncated .Exceeds the limit"),
    ],
)
def test_what_is_no_json_is_one_sentence(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value) and "a.json" in str(caught.value)


def test_missing_files_folders_and_pipes(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.json does not exist"):
        read_json(tmp_path / "nowhere.json")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="is no regular file"):
            read_json(path)
