import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from masqclip_d2.data.images import channels_first, image_pixels, read_image

RED, HALF_RED = (255, 0, 0), (255, 0, 0, 128)


def _save(image, path, **options):
    image.save(path, **options)
    return path


def _gray_16(values):
    return Image.fromarray(np.array(values, dtype=np.uint16))


def _palette(transparent=None):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


CASES = [
    ("gray", Image.new("L", (2, 1), 77), "png", [[[77] * 3] * 2]),
    ("black and white", Image.new("1", (2, 1), 1), "png", [[[255] * 3] * 2]),
    ("16-bit gray", _gray_16([[0, 257, 65535]]), "png", [[[0] * 3, [1] * 3, [255] * 3]]),
    ("16-bit rounds", _gray_16([[128, 129, 385, 386]]), "png", [[[0] * 3, [1] * 3, [1] * 3, [2] * 3]]),
    ("16-bit gray tiff", _gray_16([[0, 65535]]), "tif", [[[0] * 3, [255] * 3]]),
    ("32-bit integer tiff", Image.fromarray(np.array([[0, 65535]], np.int32)), "tif", [[[0] * 3, [255] * 3]]),
    ("opaque", Image.new("RGBA", (1, 1), (*RED, 255)), "png", [[RED]]),
    ("half transparent over white", Image.new("RGBA", (1, 1), HALF_RED), "png", [[(255, 127, 127)]]),
    ("transparent is white, not what lies below", Image.new("RGBA", (1, 1), (9, 9, 9, 0)), "png", [[[255] * 3]]),
    ("gray with alpha", Image.new("LA", (1, 1), (40, 0)), "png", [[[255] * 3]]),
    ("palette", _palette(), "png", [[[10, 20, 30], [200, 100, 50]]]),
    ("palette with a transparent color", _palette(1), "png", [[[10, 20, 30], [255] * 3]]),
    ("gif", _palette(), "gif", [[[10, 20, 30], [200, 100, 50]]]),
    ("cmyk", Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "tif", [[RED]]),
    ("one pixel", Image.new("RGB", (1, 1), (1, 2, 3)), "png", [[[1, 2, 3]]]),
]


@pytest.mark.parametrize("image, extension, expected", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_formats(tmp_path, image, extension, expected):
    found = read_image(_save(image, tmp_path / f"image.{extension}"))
    assert found.dtype == np.uint8
    assert found.flags.writeable
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


# EXIF orientation: position of the first stored row and column (EXIF 2.3, tag 274).
@pytest.mark.parametrize(
    "orientation, upright",
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_exif_orientation(tmp_path, orientation, upright):
    stored = Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8))
    exif = Image.Exif()
    exif[274] = orientation
    found = read_image(_save(stored, tmp_path / "turned.png", exif=exif))
    np.testing.assert_array_equal(found[..., 0], upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_ignored(tmp_path):
    path = _save(Image.new("RGB", (4, 3), RED), tmp_path / "image.jpg", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert read_image(path).shape == (3, 4, 3)


def _png_bytes(size=(64, 64)):
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty"),
        (b"no image at all", "is text, no image: it begins with .no image at all"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x00\x01\x02 no image", "format that Pillow does not support"),
        (_png_bytes()[:500], "cannot be read"),
        (_png_bytes()[:20], "cannot be read"),
        (_png_bytes().replace(b"IDAT", b"JUNK"), "damaged"),
    ],
    ids=["empty", "text", "pointer", "bytes", "truncated", "cut in the header", "no pixel data"],
)
def test_unreadable_files_are_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("bad image item"), NotImplementedError(), MemoryError()])
def test_errors_of_pillows_readers_are_named(tmp_path, monkeypatch, error):
    def fail(_path):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ValueError, match=f"bad.png cannot be read: {str(error) or type(error).__name__}"):
        read_image(_save(Image.new("L", (2, 2)), tmp_path / "bad.png"))


def test_truncated_jpeg(tmp_path):
    path = _save(Image.effect_noise((64, 64), 50), tmp_path / "bad.jpg")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="bad.jpg cannot be read: .*truncated"):
        read_image(path)


def test_float_pixels_are_refused_with_a_fix(tmp_path):
    path = _save(Image.new("F", (2, 2), 0.5), tmp_path / "depth.tif")
    with pytest.raises(ValueError, match="depth.tif.*8 or 16 bits"):
        read_image(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.png does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)


def test_the_limit_of_the_size_counts_before_pixels_are_decoded(tmp_path):
    content = bytearray(_png_bytes())
    content[16:24] = struct.pack(">II", 24_000, 8_000)  # the size in the header
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "huge.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"huge.png cannot be read: it has 192 megapixels \(24000 x 8000\).* 178;"):
        read_image(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="cannot be read: (?!it has)"):  # read, and found to be damaged
        read_image(tmp_path / "huge.png", max_megapixels=200)
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's own check is as before


@pytest.mark.filterwarnings("error")
def test_the_limit_is_that_of_the_caller(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = _save(Image.new("RGB", (30, 40)), tmp_path / "a.png")
    assert read_image(path).shape == (40, 30, 3)
    with pytest.raises(ValueError, match="more than the limit of 0.001"):
        read_image(path, max_megapixels=0.001)


def test_channels_come_first_whatever_the_layout():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for view in (image, image[:, ::-1], image[:1, :1][:, ::-1], image[::-1, :1], image[:0]):
        assert np.array_equal(channels_first(view).numpy(), view.transpose(2, 0, 1))


RGB = np.array([[[10, 20, 30], [200, 100, 50]]], dtype=np.uint8)
GRAY = RGB[..., 0]
AS_GRAY = np.repeat(GRAY[..., None], 3, axis=2)


def _png(image):
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RGB, RGB),
        (GRAY, AS_GRAY),
        (GRAY[..., None], AS_GRAY),
        (np.dstack([RGB, np.full((1, 2), 255, np.uint8)]), RGB),
        (np.dstack([RGB, np.zeros((1, 2), np.uint8)]), np.full_like(RGB, 255)),  # transparent is white
        (RGB.astype(np.uint16) * 257, RGB),
        (GRAY.astype(np.uint16) * 257, AS_GRAY),
        (np.array([[True, False]]), [[[255] * 3, [0] * 3]]),
        (Image.fromarray(GRAY), AS_GRAY),
        (_png(Image.fromarray(RGB)), RGB),
        (bytearray(_png(Image.fromarray(GRAY))), AS_GRAY),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1) / 255, RGB),
        ((torch.from_numpy(RGB).permute(2, 0, 1) / 255).half(), RGB),
        (torch.from_numpy(GRAY)[None], AS_GRAY),
        (torch.from_numpy(GRAY), AS_GRAY),
    ],
)
def test_images_of_any_type(given, expected):
    found = image_pixels(given)
    assert found.dtype == np.uint8 and found.shape == (1, 2, 3)
    assert np.array_equal(found, expected)


def test_an_rgb_array_is_not_copied():
    assert image_pixels(RGB) is RGB


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (RGB.astype(np.float32), r"of uint8 or uint16 .* got float32 \(1, 2, 3\)\."),
        (RGB[None], r"got uint8 \(1, 1, 2, 3\)\."),
        (RGB[:0], r"got uint8 \(0, 2, 3\)\."),
        (torch.zeros(5, 4, 3, dtype=torch.uint8), r"got uint8 \(5, 4, 3\)\."),
        (torch.full((3, 1, 2), 7.0), "holds values from 7 to 7; expected floats in"),
        (torch.full((3, 1, 2), float("nan")), "holds values from nan"),
        (b"", "Image in these bytes cannot be read: there are none"),
        (b"no image", "Image in these bytes cannot be read: it is no image, damaged"),
        (_png(Image.new("RGB", (90, 90)))[:-30], "Image in these bytes cannot be read: .*truncated"),
        (7, "Expected an image file, its bytes, a PIL image, an array or a tensor, got a int"),
        ((RGB, RGB), "got a tuple; pass a list of images"),
    ],
)
def test_what_is_no_image_is_one_sentence(given, message):
    with pytest.raises(ValueError, match=message) as refused:
        image_pixels(given)
    assert str(refused.value).count("\n") == 0


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (2, 1), color) for color in ("red", "blue", "white")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").tolist() == [[list(RED)] * 2]
