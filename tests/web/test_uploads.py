import zipfile

import numpy as np
import pytest

from masqclip_d2.web.limits import Limits
from masqclip_d2.web.refusals import Refusal
from masqclip_d2.web.uploads import Upload, check_image, read_masks, require_uploaded
from tests.web.conftest import png


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image").write_bytes(png())
    return check_image(Upload(tmp_path / "image", "a.png"), Limits())


def masks_file(folder, write, name="own.npz"):
    with (folder / name).open("wb") as file:
        write(file)
    return Upload(folder / name, f"../../{name}")


def test_archives_that_would_fill_the_memory_are_not_unpacked(tmp_path, image):
    own = masks_file(tmp_path, lambda file: np.savez_compressed(file, masks=np.zeros((3000, 24, 32), bool)))
    assert own.path.stat().st_size < 20_000
    with pytest.raises(Refusal, match="The masks of own.npz are too large"):
        read_masks([own], image, Limits(mask_megapixels=1))
    with pytest.raises(Refusal, match="There are 3000 masks"):
        read_masks([own], image, Limits())


def test_damaged_and_dangerous_files(tmp_path, image):
    pickled = masks_file(tmp_path, lambda file: np.savez(file, masks=np.array([{}], dtype=object)))
    with pytest.raises(Refusal, match=r"^Mask file own\.npz holds pickled Python objects"):
        read_masks([pickled], image, Limits())
    text = masks_file(tmp_path, lambda file: file.write(b"no archive"))
    with pytest.raises(Refusal, match=r"^Mask file own\.npz is damaged"):
        read_masks([text], image, Limits())
    broken = masks_file(tmp_path, lambda file: file.write(b"[{"), "own.json")
    with pytest.raises(Refusal, match=r"^own\.json is damaged or truncated"):
        read_masks([broken], image, Limits())
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("../../evil.npy", b"x")
    with pytest.raises(Refusal, match="has no array 'masks'"):
        read_masks([Upload(tmp_path / "own.npz", "own.npz")], image, Limits())


def test_equal_names_are_two_masks(tmp_path, image):
    paths = []
    for index in range(2):
        from PIL import Image

        paths.append(tmp_path / f"{index}.png")
        Image.new("L", (32, 24), 255 * index).save(paths[-1])
    found = read_masks([Upload(path, "same.png") for path in paths], image, Limits())
    assert sorted(int(mask.sum()) for mask in found["masks"]) == [0, 24 * 32]


def test_names_in_messages_are_short_and_without_folders(tmp_path):
    assert Upload(tmp_path, "C:\\pictures\\a\nb.png").shown_name == "a?b.png"
    assert Upload(tmp_path, "x" * 500).shown_name == "x" * 80 and Upload(tmp_path, "").shown_name == "without a name"


def test_data_may_name_uploaded_files_only(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    require_uploaded([None, "cat", 1.5, {"path": str(folder / "a.png")}, {"layers": [], "path": None}], folder)
    outside = ["/etc/passwd", f"{folder}/../a.png", f"{folder}/link", f"{folder}s/a.png", "https://example.org/a.png"]
    for path in (*outside, str(folder), "a\0b", "", 5, ["/etc/passwd"]):
        with pytest.raises(Refusal, match="was not uploaded here"):
            require_uploaded([0, {"layers": [{"path": path}]}], folder)


def test_large_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    (tmp_path / "image").write_bytes(png(60, 40))  # a PNG, whose orientation may be stored after its pixels
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(Refusal, match="has 0 megapixels .40 x 60.; at most 0.002 are accepted") as found:
        check_image(Upload(tmp_path / "image", "a.png"), Limits(megapixels=0.002))
    assert found.value.status == 413


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e12])
def test_limits_are_numbers_that_can_be_reached(value):
    for name in ("upload_mb", "cache_mb", "queue", "wait_s"):
        with pytest.raises(ValueError, match=f"The limit {name} is .*; expected a number above 0 and below"):
            Limits(**{name: value})
