"""PASCAL-Context from its published files to metrics; outputs are derived by hand from tests/original_formats."""

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image
from scipy.io import savemat

from masqclip_d2.data.preparation import prepare
from masqclip_d2.data.registration import register_pascal_context
from tests.original_formats import compressed, read_json, scores_of_the_ground_truth, write_json, write_pascal_context

VAL = "2008_000008"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("context")
    write_pascal_context(root)
    prepare("pascal_context", root, num_workers=2, progress=False)
    register_pascal_context(root, prefix="mini_")
    return root


def pixels(path, mode):
    with Image.open(path) as image:
        assert image.mode == mode
        return np.asarray(image).tolist()


@pytest.mark.parametrize("split, stem", [("training", "2008_000002"), ("validation", VAL)])
def test_label_maps(root, split, stem):
    folder = root / "pascal_ctx_d2"
    # Later masks lie over earlier ones; accordion (1) is none of the 59; aeroplane is 0, bag 1.
    assert pixels(folder / "annotations_ctx59" / split / f"{stem}.png", "L") == [[0, 1, 1], [255, 1, 255]]
    expected = [[65535, 0, 1], [8, 458, 458]]
    assert pixels(folder / "annotations_ctx459" / split / f"{stem}.tif", "I;16") == expected
    assert [path.name for path in (folder / "images" / split).iterdir()] == [f"{stem}.jpg"]


@pytest.mark.parametrize("number", [59, 459])
def test_the_ground_truth_scores_100(root, number):
    name = f"mini_pascal_context_{number}_sem_seg_val"
    assert len(MetadataCatalog.get(name).stuff_classes) == number
    assert MetadataCatalog.get(name).ignore_label == {59: 255, 459: 65535}[number]
    scores = scores_of_the_ground_truth(name)
    assert scores["sem_seg"]["mIoU"] == scores["sem_seg"]["pACC"] == pytest.approx(100)


def test_a_single_kind_includes_the_images(tmp_path):
    write_pascal_context(tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2010").rename(tmp_path / "VOC2010")  # the other place of releases
    prepare("pascal_context", tmp_path, kinds=["459"], splits=["val"], progress=False)
    folder = tmp_path / "pascal_ctx_d2"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["annotations_ctx459", "images"]
    prepare("pascal_context", tmp_path, kinds=["59"], splits=["val"], progress=False)  # the images are there already
    assert (folder / "annotations_ctx59" / "validation" / f"{VAL}.png").is_file()


# --- Bad input ---


@pytest.fixture
def raw(tmp_path):
    return write_pascal_context(tmp_path)


def fails(raw, kind, match, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        prepare("pascal_context", raw.parents[1], kinds=[kind], splits=["val"], progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "variables, match",
    [
        ({"LabelMap": np.full((2, 3), 460, dtype=np.uint16)}, rf"{VAL}.mat holds the label 460, but labels are 0..459"),
        ({"Labels": np.zeros((2, 3))}, "has no LabelMap; expected"),
        ({"LabelMap": np.zeros((2, 3))}, "has a LabelMap of shape .* and type float64"),
        ({"LabelMap": np.zeros((2, 2), dtype=np.uint16)}, r"are 2x2 pixels, but their image .* is 3x2"),
    ],
    ids=["label out of range", "other variable", "floats", "other size"],
)
def test_an_invalid_mat_file(raw, variables, match):
    savemat(raw / "trainval" / f"{VAL}.mat", variables)
    fails(raw, "459", match)


def test_a_damaged_and_a_missing_mat_file(raw):
    path = raw / "trainval" / f"{VAL}.mat"
    path.write_bytes(path.read_bytes()[:150])
    fails(raw, "459", f"{VAL}.mat cannot be read")
    path.unlink()
    fails(raw, "459", f"{VAL}.mat is missing; download PASCAL-Context's trainval.tar.gz", FileNotFoundError)


def edit(raw, change):
    content = read_json(raw / "trainval_merged.json")
    change(content)
    write_json(raw / "trainval_merged.json", content)


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda c: c["annos_segmentation"][3].update(category_id=500), "holds the label 500, but labels are 0..459"),
        (lambda c: c["annos_segmentation"][3].update(image_id=7), "segmentation of image 7, which is not among its 2"),
        (
            lambda c: c["annos_segmentation"][3].update(segmentation=compressed([[1]])),
            "is 1x1 pixels, but the image is 3x2",
        ),
        (lambda c: c.pop("images"), "has no images; expected PASCAL-Context's"),
        (
            lambda c: c.update(categories=[{"category_id": 1, "name": "bag"}, {"category_id": 2, "name": "bag"}]),
            "category name 'bag' more than once",
        ),
    ],
    ids=["label out of range", "annotation without image", "other size", "part missing", "duplicate name"],
)
def test_an_invalid_merged_file(raw, change, match):
    edit(raw, change)
    fails(raw, "59", match)


def test_a_missing_image_is_reported(raw):
    (raw / "JPEGImages" / f"{VAL}.jpg").unlink()
    fails(raw, "59", f"{VAL}.jpg is missing; download PASCAL VOC 2010", FileNotFoundError)
