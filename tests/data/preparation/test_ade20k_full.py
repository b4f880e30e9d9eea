"""ADE20K-847 from the full release to metrics; outputs are derived by hand from tests/original_formats."""

import pickle

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from masqclip_d2.data.preparation import prepare
from masqclip_d2.data.preparation.ade20k_full import class_indices, read_index, reduced_size
from masqclip_d2.data.registration import register_ade20k_full
from tests.original_formats import ADE_FULL_FOLDERS, scores_of_the_ground_truth, write_ade20k_full, write_pixels

VAL, TRAIN = "ADE_val_00000007", "ADE_train_00000003"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("ade20k_full")
    folder = write_ade20k_full(root)
    prepare("ade20k_full", root, num_workers=2, progress=False)
    return folder


def labels_of(folder, split, stem):
    with Image.open(folder / "annotations_detectron2" / split / f"{stem}.tif") as image:
        assert image.mode == "I;16"
        return np.asarray(image)


def test_small_images_keep_their_size(folder):
    # wall is 0, bed 7; what is unlabelled, or none of the 847, is 65535
    assert labels_of(folder, "validation", VAL).tolist() == [[0, 7], [65535, 0], [7, 7]]
    with Image.open(folder / "images_detectron2" / "validation" / f"{VAL}.jpg") as image:
        assert image.size == (2, 3)


def test_large_images_are_reduced_to_a_shorter_side_of_512(folder):
    labels = labels_of(folder, "training", TRAIN)
    assert labels.shape == (512, 591)  # 600 / 520 * 512 = 590.8
    assert np.unique(labels).tolist() == [0, 7]
    assert (labels[:, :295] == 0).all() and (labels[:, 296:] == 7).all()  # halves of 591
    with Image.open(folder / "images_detectron2" / "training" / f"{TRAIN}.jpg") as image:
        assert image.size == (591, 512)


def test_sizes():
    assert reduced_size((513, 513)) == (512, 512)
    assert reduced_size((600, 520)) == (591, 512)
    assert reduced_size((520, 600)) == (512, 591)
    assert reduced_size((4000, 512)) == (4000, 512)  # only one side exceeds 512


def test_class_indices():
    colors = np.array([[[110, 162, 9], [119, 162, 0], [0, 0, 0], [9, 255, 3]]], dtype=np.uint8)
    assert class_indices(colors).tolist() == [[2978, 2978, 0, 255]]


def test_the_ground_truth_scores_100(folder):
    register_ade20k_full(folder.parent, prefix="mini_")
    metadata = MetadataCatalog.get("mini_ade20k_full_sem_seg_val")
    assert (len(metadata.stuff_classes), metadata.ignore_label) == (847, 65535)
    assert metadata.stuff_classes[255] == "pier"
    scores = scores_of_the_ground_truth("mini_ade20k_full_sem_seg_val")
    assert scores["sem_seg"]["mIoU"] == scores["sem_seg"]["mIoU_gt_or_pred"] == pytest.approx(100)
    assert scores["sem_seg"]["pACC"] == pytest.approx(100)


def test_the_index_is_read_as_data(tmp_path):
    folder = write_ade20k_full(tmp_path)
    rows = read_index(folder / "index_ade20k.pkl")
    assert rows[0] == (f"ADE20K_2021_17_01/images/{ADE_FULL_FOLDERS['val']}", f"{VAL}.jpg")
    assert not (tmp_path / "made_by_the_pickle").exists()
    pickle.loads((folder / "index_ade20k.pkl").read_bytes())  # the plain reader would have run it
    assert (tmp_path / "made_by_the_pickle").exists()


# --- Bad input ---


def fails(root, match, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        prepare("ade20k_full", root, splits=["val"], progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, match",
    [
        (b"no pickle", "is damaged or not ADE20K's index"),
        (pickle.dumps({"folder": ["a"]}), "is damaged or not ADE20K's index .*filename"),
        (pickle.dumps({"folder": ["a"], "filename": []}), "has 1 folders for 0 file names"),
        (pickle.dumps({"folder": ["a"], "filename": ["ADE_train_1.jpg"]}), "lists no image of the validation split"),
    ],
    ids=["garbage", "part missing", "unequal lengths", "no validation images"],
)
def test_an_invalid_index(tmp_path, content, match):
    folder = write_ade20k_full(tmp_path)
    (folder / "index_ade20k.pkl").write_bytes(content)
    fails(tmp_path, match)


def test_a_missing_annotation_is_reported(tmp_path):
    folder = write_ade20k_full(tmp_path)
    (folder / "images" / ADE_FULL_FOLDERS["val"] / f"{VAL}_seg.png").unlink()
    fails(tmp_path, f"Annotations .*{VAL}_seg.png does not exist", FileNotFoundError)
    register_ade20k_full(tmp_path, prefix="half_")
    with pytest.raises(FileNotFoundError, match="was interrupted; resume it with: masqclip prepare ade20k_full"):
        DatasetCatalog.get("half_ade20k_full_sem_seg_val")


def test_an_annotation_of_another_mode_or_size(tmp_path):
    folder = write_ade20k_full(tmp_path)
    path = folder / "images" / ADE_FULL_FOLDERS["val"] / f"{VAL}_seg.png"
    write_pixels(path, [[1, 2]] * 3)
    fails(tmp_path, "has mode L; expected three channels")
    write_pixels(path, [[(0, 0, 0)]])
    fails(tmp_path, "are 1x1 pixels, but their image .* is 2x3")
