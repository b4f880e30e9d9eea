"""Every kind of file that is no usable image ends in one sentence with its name, and nothing blocks."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.data.images import read_image
from masqclip_d2.data.label_maps import read_label_map, read_panoptic_png
from masqclip_d2.image_files import image_size, megapixel_limit

READERS = [read_image, read_label_map, read_panoptic_png, image_size]


def claims(path, width, height):
    """A PNG of a few bytes whose header claims a size."""
    Image.new("L", (4, 4)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_image_as_it_is_read(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"photo.{suffix}"
    Image.new("RGB", (8, 4)).save(path, exif=exif)
    height, width = read_image(path).shape[:2]
    assert image_size(path) == (width, height) == ((4, 8) if orientation > 4 else (8, 4))


def test_an_orientation_behind_the_pixels_counts(tmp_path):
    """Tools that add metadata to a PNG write them at its end."""
    exif = Image.Exif()
    exif[274] = 6
    block = exif.tobytes()[6:]
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 4)).save(path)
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert image_size(path) == (4, 8) and read_image(path).shape == (8, 4, 3)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "empty", "text", "video", "absent", "NUL", "long name"])
def test_what_is_no_image_file_is_refused_without_waiting(tmp_path, read, kind):
    path = tmp_path / "a.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "device":
        path = "/dev/zero"
    if kind == "folder":
        path.mkdir()
    if kind == "empty":
        path.touch()
    if kind == "text":
        path.write_text("<!DOCTYPE html>")
    if kind == "video":
        path = tmp_path / "a.mp4"
        path.write_bytes(b"\0\0\0\x20ftypisom")
    if kind == "NUL":
        path = "a\0b.jpg"
    if kind == "long name":
        path = "a" * 5000
    reason = {
        "pipe": "is no regular file",
        "device": "is no regular file",
        "folder": "is a folder",
        "empty": r"is empty \(0 bytes\)",
        "text": "is text, no image: it begins with '<!DOCTYPE html>'",
        "video": "is a video by its name; `masqclip demo --video-input` takes videos",
        "absent": "does not exist",
        "NUL": "cannot be read: ",
        "long name": "cannot be read: File name too long",
    }[kind]
    with pytest.raises((ValueError, FileNotFoundError), match=reason) as caught:
        read(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("read", READERS)
def test_claimed_sizes_are_refused_before_any_pixel_is_decoded(tmp_path, read, monkeypatch):
    monkeypatch.delenv("MASQCLIP_MAX_MEGAPIXELS", raising=False)
    path = claims(tmp_path / "bomb.png", 50_000, 50_000)
    with pytest.raises(ValueError, match="bomb.png cannot be read: it has 2500 megapixels .* limit of 178; .*MASQ"):
        read(path)


def test_an_environment_variable_raises_the_limit(monkeypatch, tmp_path):
    monkeypatch.setenv("MASQCLIP_MAX_MEGAPIXELS", "200")
    assert megapixel_limit() == megapixel_limit(178) == 200 and megapixel_limit(300) == 300
    with pytest.raises(ValueError, match="(?!.*megapixels)huge.png cannot be read"):  # decoded, and found to be cut
        read_label_map(claims(tmp_path / "huge.png", 16_000, 12_000))
    for wrong in ("many", "-1", "nan"):
        monkeypatch.setenv("MASQCLIP_MAX_MEGAPIXELS", wrong)
        with pytest.raises(ValueError, match=f"MASQCLIP_MAX_MEGAPIXELS is '{wrong}'; set a number"):
            megapixel_limit()


def test_no_program_is_started_to_draw_a_file(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    os.rename(tmp_path / "a.eps", tmp_path / "a.jpg")
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(ValueError, match=r"a.jpg cannot be read: it is EPS, no pixels; save it as PNG"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_label_map, read_panoptic_png])
def test_truncated_labels_are_named(tmp_path, read):
    mode = "L" if read is read_label_map else "RGB"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40) if mode == "L" else (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-300])
    with pytest.raises(ValueError, match="cut.png cannot be read: .*; copy or download it again"):
        read(tmp_path / "cut.png")
