"""What registration, `check-data` and the start of a run find in image and label files."""

import re

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from masqclip_d2 import register_semantic
from masqclip_d2.data.file_checks import LabelFacts, check_before_run, evenly_spread, require_files, survey
from masqclip_d2.data.label_maps import id2rgb
from masqclip_d2.diagnostics.datasets import check_dataset

pytestmark = pytest.mark.usefixtures("forget")

BINARY = np.array([[0, 0, 255], [0, 255, 255]], dtype=np.uint8)
VOID = np.full((2, 3), 255, dtype=np.uint8)
NAMES = "background,lesion"


@pytest.fixture
def make(tmp_path):
    """Write images and label maps 000.png, 001.png, ...; returns both folders."""

    def make(*maps):
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for number, labels in enumerate(maps):
            Image.new("RGB", labels.shape[1::-1]).save(tmp_path / "images" / f"{number:03d}.png")
            Image.fromarray(labels).save(tmp_path / "labels" / f"{number:03d}.png")
        return tmp_path / "images", tmp_path / "labels"

    return make


def run_of(name):
    records = DatasetCatalog.get(name)
    check_before_run([name], records, ["sem_seg_file_name", "pan_seg_file_name"])


def failed(name):
    return [result.message for result in check_dataset(name) if not result.ok]


def test_binary_masks_are_refused_unless_255_is_meant_as_no_label(make, caplog):
    folders = make(BINARY, BINARY)
    register_semantic("isic", *folders, NAMES)
    message = "hold 0 and 255 only, .*'lesion' never occurs. Write 1 .*ignore_label=255"
    assert re.search(f"Dataset 'isic' cannot be used: .* {message}", caplog.text)
    with pytest.raises(ValueError, match=message):
        run_of("isic")
    assert re.search(message, failed("isic")[0])
    register_semantic("meant", *folders, NAMES, ignore_label=255)
    run_of("meant")
    assert failed("meant") == []


def test_the_category_that_255_stands_for_may_be_the_first(make):
    register_semantic("isic", *make(np.where(BINARY, 255, 1).astype(np.uint8)), NAMES)
    with pytest.raises(ValueError, match="hold 1 and 255 only, .*'background' never occurs. Write 0 in its place"):
        run_of("isic")


@pytest.mark.parametrize("maps", [[BINARY // 255], [BINARY, BINARY // 255]])
def test_masks_with_both_categories_are_right(make, maps):
    register_semantic("isic", *make(*maps), NAMES)
    run_of("isic")
    assert failed("isic") == []


def test_label_maps_without_any_category_are_refused_everywhere(make, caplog):
    folders = make(BINARY // 255, VOID)
    register_semantic("void", *folders, NAMES)
    make(VOID, VOID)
    message = r"no pixel in the label maps of all 2 images has a category: all are 255.* Write category ids \(0..1\)"
    with pytest.raises(ValueError, match=f"Dataset void: {message}"):
        run_of("void")
    (found,) = failed("void")
    assert found.startswith("no pixel in the label maps of all 2 images has a category")
    register_semantic("void again", *folders, NAMES)
    assert re.search(f"Dataset 'void again' cannot be used: {message}", caplog.text)


def test_one_labelled_map_among_many_is_looked_for(make):
    register_semantic("rare", *make(*[VOID] * 30, BINARY // 255, *[VOID] * 69), NAMES)
    records = DatasetCatalog.get("rare")
    seen = survey(records, LabelFacts.of("rare"), ["sem_seg_file_name"], 4)
    assert not seen.fault(LabelFacts.of("rare")) and seen.categories == {0, 1}
    assert seen.looked_at == 31 and seen.total == 100


@pytest.mark.parametrize(
    "labels, remark",
    [
        (np.zeros((2, 3), np.uint8), "the only category in the label maps of all 1 images is 'a', of 3; look at"),
        (np.array([[0, 1, 255]], np.uint8), "1 of 3 categories never occur in the ground truth: c"),
        (np.array([[0, 1, 2]], np.uint8), None),
    ],
)
def test_categories_that_never_occur_are_said(make, caplog, labels, remark):
    register_semantic("three", *make(labels), "a,b,c")
    run_of("three")
    said = [record.getMessage().removeprefix("three: ") for record in caplog.records]
    noted = [result.message for result in check_dataset("three") if result.warning]
    for found in (said, noted):
        assert len(found) == (remark is not None) and all(each.startswith(str(remark)) for each in found)


@pytest.mark.parametrize("kind", ["as drawn", "once a JPEG", "resized"])
def test_values_that_only_edges_have_are_remarked_upon(make, tmp_path, caplog, kind):
    drawn = np.zeros((64, 96), np.uint8)
    drawn[10:34, 8:38], drawn[30:58, 50:86] = 7, 15
    if kind == "once a JPEG":
        Image.fromarray(drawn).save(tmp_path / "a.jpg", quality=75)
        drawn = np.asarray(Image.open(tmp_path / "a.jpg")).clip(0, 23)
    if kind == "resized":
        drawn = np.asarray(Image.fromarray(drawn).resize((200, 130), Image.Resampling.BILINEAR))
    register_semantic("smeared", *make(drawn), [f"word {number}" for number in range(24)])
    run_of("smeared")
    assert ("are nowhere wider than two pixels" in caplog.text) == (kind != "as drawn")


@pytest.mark.parametrize(
    "kind, message",
    [
        ("label image truncated", "labels/001.png cannot be read"),
        ("image truncated", "images/001.png cannot be read"),
        ("image is text", "images/001.png cannot be read: it is text"),
        ("JPEG", "labels/001.png is stored as JPEG"),
        ("colors", "labels/001.png has mode RGB"),
        ("out of range", "labels/001.png holds the label 6, 7"),
        ("smaller", "labels/001.png are 2x2 pixels"),
    ],
)
def test_a_run_and_check_data_find_the_same(make, kind, message):
    noise = np.random.default_rng(0).integers(0, 2, (30, 30), dtype=np.uint8)
    images, labels = make(noise, noise)
    register_semantic("broken", images, labels, NAMES)
    path = (images if kind.startswith("image") else labels) / "001.png"
    if kind == "JPEG":
        Image.fromarray(noise).save(path, "JPEG")
    elif kind == "image is text":
        path.write_text("not found")
    elif "truncated" in kind:
        Image.effect_noise((30, 30), 9).save(path)
        path.write_bytes(path.read_bytes()[:-200])
    else:
        wrong = {"colors": np.zeros((30, 30, 3), np.uint8), "smaller": noise[:2, :2]}.get(kind, noise + 6)
        Image.fromarray(wrong).save(path)
    with pytest.raises(ValueError, match=message):
        run_of("broken")
    (found,) = failed("broken")
    assert re.search(message, found)


def test_segments_are_left_out_counted_and_said_once(tmp_path, caplog):
    ids = np.array([[5, 9]])
    records = []
    for number in range(3):
        Image.new("RGB", (2, 1)).save(tmp_path / f"{number}.png")
        Image.fromarray(id2rgb(ids)).save(tmp_path / f"{number}_ids.png")
        records.append({
            "file_name": str(tmp_path / f"{number}.png"), "pan_seg_file_name": str(tmp_path / f"{number}_ids.png"),
            "segments_info": [{"id": 5, "category_id": 0}, {"id": 6, "category_id": 1}],
        })  # fmt: skip
    DatasetCatalog.register("leaky", lambda: records)
    MetadataCatalog.get("leaky").set(stuff_classes=["a"])
    run_of("leaky")
    (message,) = [record.getMessage() for record in caplog.records]
    expected = (
        "leaky: 3 segments are listed without a pixel and 3 segments have pixels but are not listed, in 3 panoptic"
    )
    assert message.startswith(expected)


def test_files_are_listed_not_opened(tmp_path):
    labels = str(tmp_path / "labels.png")
    records = [{"file_name": str(tmp_path / name), "sem_seg_file_name": labels} for name in ("a.jpg", "b.jpg")]
    for name in ("a.jpg", "labels.png"):
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 files are missing, the first being .*b.jpg"):
        require_files(records)
    assert require_files(records[:1]) == 2 and require_files(records[:1], {"file_name"}) == 1


def test_samples_are_evenly_spread():
    records = [{"n": n} for n in range(100)]
    chosen = [record["n"] for record in evenly_spread(records, 12)]
    assert chosen[0] == 0 and chosen[-1] == 99 and len(chosen) == 12
    assert max(np.diff(chosen)) == 9
    assert evenly_spread(records[:2]) == records[:2] and evenly_spread([]) == []
