import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.web.drawing_board import protect_board
from masqclip_d2.web.limits import Limits

gradio = pytest.importorskip("gradio", reason="the extra app is not installed")

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.fixture
def board():
    found = gradio.ImageEditor(type="numpy", render=False)
    protect_board(found, Limits(upload_mb=0.001))
    return found


def blob(content, index="0", drawing="a", kind="layer"):
    data = {"type": kind, "index": index, "id": drawing}
    return SimpleNamespace(data=data, files=[("file", content)])


def layer(size=(4, 3), kind="PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("1" if kind == "PNG" else "RGB", size, 1).save(buffer, kind)
    return buffer.getvalue()


def test_layers_are_read_and_what_is_not_used_is_not(board):
    board.accept_blobs(blob(layer()))
    board.accept_blobs(blob(b"no image", kind="background", index="null"))
    found = board.preprocess(SimpleNamespace(id="a"))
    assert found["background"] is None and [one.shape for one in found["layers"]] == [(3, 4, 4)]
    assert np.all(found["layers"][0] == 255) and not board.blob_storage


@pytest.mark.parametrize("content", [EPS, layer((6000, 6000)), layer()[:40], b""], ids=["EPS", "large", "cut", "empty"])
def test_layers_that_run_programs_or_fill_the_memory_are_not_decoded(board, content, tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.EpsImageFile.load", lambda *arguments: pytest.fail("a program was run"))
    (tmp_path / "layer").write_bytes(content)
    for file in (content, SimpleNamespace(path=str(tmp_path / "layer"), orig_name="a.png")):
        with pytest.raises(gradio.Error, match="cannot be read; draw again"):
            board.convert_and_format_image(file)


def test_drawings_take_a_bounded_amount_of_memory(board):
    for index in ("1000000000", "8", "-1"):
        with pytest.raises(gradio.Error, match="too many layers"):
            board.accept_blobs(blob(b"x", index))
    with pytest.raises(gradio.Error, match="too many layers"):
        board.preprocess(SimpleNamespace(id=None, layers=[b""] * 9))
    for number in range(20):
        board.accept_blobs(blob(bytes(1000), drawing=str(number)))
    assert list(board.blob_storage) == ["16", "17", "18", "19"]
