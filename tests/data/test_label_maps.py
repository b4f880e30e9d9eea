import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.data.label_maps import (
    LabelledImage,
    id2rgb,
    present_labels,
    read_label_map,
    read_panoptic_png,
    read_semantic_labels,
    rgb2id,
)
from masqclip_d2.image_files import image_size


@pytest.mark.parametrize("mode, value", [("L", 255), ("P", 7), ("I;16", 65535)])
def test_labels_of_one_channel_do_not_wrap_around(tmp_path, mode, value):
    path = tmp_path / ("labels.tif" if mode == "I;16" else "labels.png")
    labels_image = Image.new(mode, (3, 2), value)
    if mode == "P":  # the index is the label, whatever its color
        labels_image = Image.fromarray(np.full((2, 3), value, dtype=np.uint8), mode="P")
        labels_image.putpalette(list(range(255, -1, -1)) * 3)
    labels_image.save(path)
    labels = read_label_map(path)
    assert labels.shape == (2, 3) and labels.dtype == np.int64
    assert (labels + 1).tolist() == [[value + 1] * 3] * 2


@pytest.mark.parametrize("mode", ["RGB", "1", "LA"])
def test_other_modes_are_refused(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "labels.png")
    with pytest.raises(ValueError, match=f"labels.png has mode {mode}; expected one channel of category ids"):
        read_label_map(tmp_path / "labels.png")


def test_segment_ids(tmp_path):
    ids = np.array([[0, 255, 256], [65536, 256**3 - 1, 513]])
    Image.fromarray(id2rgb(ids)).save(tmp_path / "segments.png")
    assert np.array_equal(read_panoptic_png(tmp_path / "segments.png"), ids)
    assert np.array_equal(rgb2id(id2rgb(ids)), ids)
    Image.new("L", (3, 2)).save(tmp_path / "gray.png")
    with pytest.raises(ValueError, match="gray.png has mode L; expected colors"):
        read_panoptic_png(tmp_path / "gray.png")


@pytest.mark.parametrize("read", [read_label_map, read_panoptic_png, image_size])
def test_missing_and_damaged_files(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="a.png does not exist"):
        read(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="b.png cannot be read"):
        read(tmp_path / "b.png")


def turned(pixels, path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.mark.parametrize(
    "name, options, kind",
    [
        ("a.jpg", {}, "JPEG"),
        ("a.webp", {}, "lossy WEBP"),
        ("a.tif", {"compression": "jpeg"}, "TIFF with jpeg compression"),
        ("a.jp2", {}, "JPEG2000"),
    ],
)
def test_formats_that_change_values_are_refused_under_any_name(tmp_path, name, options, kind):
    Image.new("RGB" if "webp" in name else "L", (8, 8), 3).save(tmp_path / name, **options)
    (tmp_path / name).rename(tmp_path / "a.png")
    read = read_panoptic_png if "webp" in name else read_label_map
    with pytest.raises(ValueError, match=f"a.png is stored as {kind}, which changes values near edges"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": True, "icc_profile": b"a profile"}])
def test_lossless_webp_is_read(tmp_path, options):
    ids = np.array([[5, 70000]])
    Image.fromarray(id2rgb(ids)).save(tmp_path / "a.webp", exact=True, **options)
    assert read_panoptic_png(tmp_path / "a.webp").tolist() == ids.tolist()


def test_labels_are_turned_as_images_are(tmp_path):
    labels = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    turned(labels, tmp_path / "a.png", 6)
    image = LabelledImage((3, 2))
    assert read_label_map(tmp_path / "a.png", image=image).tolist() == [[4, 1], [5, 2], [6, 3]]


def test_sizes_that_disagree(tmp_path):
    photo, labels = tmp_path / "photo.png", tmp_path / "labels.png"
    Image.new("L", (6, 4)).save(labels)
    assert read_label_map(labels, image=LabelledImage((4, 6))).shape == (4, 6)
    with pytest.raises(ValueError, match="labels.png are 6x4 pixels, but their image b.jpg is 5x4 .* as it is on disk"):
        read_label_map(labels, image=LabelledImage((4, 5), "b.jpg"))
    with pytest.raises(ValueError, match="but their image b.jpg is 4x6 .*; turn the labels by 90 degrees"):
        read_label_map(labels, image=LabelledImage((6, 4), "b.jpg"))
    turned(np.zeros((4, 6), dtype=np.uint8), photo, 6)
    with pytest.raises(ValueError, match="is stored as 6x4 and turned by its EXIF orientation: turn the labels"):
        read_label_map(labels, image=LabelledImage((6, 4), str(photo)))


def test_labels_of_another_size_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.new("L", (300, 300)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="a.png are 300x300 pixels"):
        read_label_map(tmp_path / "a.png", image=LabelledImage((4, 6)))


def test_labels_of_an_accepted_image_have_no_limit_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("masqclip_d2.data.label_maps.MAX_MEGAPIXELS", 1e-6)
    Image.new("L", (6, 4)).save(tmp_path / "a.png")
    assert read_label_map(tmp_path / "a.png", image=LabelledImage((4, 6))).shape == (4, 6)
    with pytest.raises(ValueError, match="limit"):
        read_label_map(tmp_path / "a.png")


def test_semantic_labels_must_be_in_the_list(tmp_path):
    Image.fromarray(np.array([[0, 1, 255]], dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_semantic_labels(tmp_path / "a.png", 2, 255).tolist() == [[0, 1, 255]]
    with pytest.raises(ValueError, match="a.png holds the label 1, but labels are 0..0, and 255 without a category"):
        read_semantic_labels(tmp_path / "a.png", 1, 255)
    with pytest.raises(ValueError, match="holds the label 255, .*; masks of 0 and 255 need 1 in place of 255"):
        read_semantic_labels(tmp_path / "a.png", 2, 65535)


@pytest.mark.parametrize("values", [[0, 3, 200], [65535, 0], [2**31, 4], [7]])
def test_present_labels_are_the_values(values):
    assert present_labels(np.array([values * 2])) == sorted(values)


def _gray_png(bits, row):
    """A PNG of one row, which Pillow cannot write with few bits per pixel."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" + row))]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [*chunks, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "content", [_gray_png(4, b"\x01\x23"), _gray_png(2, b"\x1b"), b"P5\n4 1\n3\n\0\1\2\3", b"P2\n2 1\n3\n0 1\n"]
)
def test_labels_that_readers_would_stretch_are_refused(tmp_path, content):
    (tmp_path / "labels.png").write_bytes(content)
    with pytest.raises(ValueError, match="labels.png is stored with fewer than 8 bits per pixel, or with a maximum"):
        read_label_map(tmp_path / "labels.png")
    (tmp_path / "labels.png").write_bytes(_gray_png(8, b"\0\1\2\3"))
    assert read_label_map(tmp_path / "labels.png").tolist() == [[0, 1, 2, 3]]
