import json
import shutil

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.categories import load_categories
from masqclip_d2.shapes.rendering import ShapesSpec, dataset, read_manifest, write_shapes

CATEGORIES = {category.id: category for category in load_categories("shapes")}
NOVEL_IDS = {category.id for category in CATEGORIES.values() if category.novel}
LABEL_SETS = [("train", "train"), ("train", "train_base"), ("val", "val")]


def _json(folder, name):
    return json.loads((folder / "annotations" / name).read_text(encoding="utf-8"))


def _ids(path):
    colors = np.asarray(Image.open(path)).astype(np.int64)
    return colors @ (1, 256, 65536)


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("split, labels", LABEL_SETS)
def test_panoptic_json_and_png_agree(shapes_folder, split, labels):
    content = _json(shapes_folder, f"panoptic_{labels}.json")
    assert len(content["annotations"]) == len(content["images"]) == {"train": 40, "val": 8}[split]
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        ids = _ids(shapes_folder / "annotations" / f"panoptic_{labels}" / annotation["file_name"])
        image_file = Image.open(shapes_folder / split / image["file_name"])
        assert image_file.mode == "RGB"
        assert ids.shape == (image["height"], image["width"]) == image_file.size[::-1]
        assert set(np.unique(ids)) - {0} == {info["id"] for info in annotation["segments_info"]}
        for info in annotation["segments_info"]:
            mask = ids == info["id"]
            rows, columns = np.nonzero(mask)
            x, y, width, height = info["bbox"]
            assert info["area"] == mask.sum()
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
            assert info["iscrowd"] == 0


@pytest.mark.parametrize("split, labels", LABEL_SETS)
def test_semantic_png_follows_from_panoptic(shapes_folder, split, labels):
    for annotation in _json(shapes_folder, f"panoptic_{labels}.json")["annotations"]:
        ids = _ids(shapes_folder / "annotations" / f"panoptic_{labels}" / annotation["file_name"])
        expected = np.full(ids.shape, 255)
        for info in annotation["segments_info"]:
            expected[ids == info["id"]] = CATEGORIES[info["category_id"]].contiguous_id
        found = Image.open(shapes_folder / f"semantic_{labels}" / annotation["file_name"])
        assert found.mode == "L"
        assert np.array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("split, labels", LABEL_SETS)
def test_instances_are_the_things_of_panoptic(shapes_folder, split, labels):
    from pycocotools.coco import COCO

    coco = COCO(str(shapes_folder / "annotations" / f"instances_{labels}.json"))
    assert [category["id"] for category in coco.dataset["categories"]] == [
        c.id for c in CATEGORIES.values() if c.isthing
    ]
    assert all(annotation_id > 0 for annotation_id in coco.anns)
    for annotation in _json(shapes_folder, f"panoptic_{labels}.json")["annotations"]:
        ids = _ids(shapes_folder / "annotations" / f"panoptic_{labels}" / annotation["file_name"])
        expected = [info for info in annotation["segments_info"] if CATEGORIES[info["category_id"]].isthing]
        found = coco.imgToAnns[annotation["image_id"]]
        assert [a["category_id"] for a in found] == [info["category_id"] for info in expected]
        for instance, info in zip(found, expected, strict=True):
            assert np.array_equal(coco.annToMask(instance) == 1, ids == info["id"])
            assert (instance["area"], instance["bbox"]) == (info["area"], info["bbox"])


def test_base_labels_have_no_novel_categories_but_images_have_novel_objects(shapes_folder):
    everything = _json(shapes_folder, "panoptic_train.json")["annotations"]
    base = _json(shapes_folder, "panoptic_train_base.json")["annotations"]
    novel_seen = 0
    for full, labelled in zip(everything, base, strict=True):
        kept = [info for info in full["segments_info"] if info["category_id"] not in NOVEL_IDS]
        novel = [info for info in full["segments_info"] if info["category_id"] in NOVEL_IDS]
        assert labelled["segments_info"] == kept
        ids = _ids(shapes_folder / "annotations" / "panoptic_train" / full["file_name"])
        base_ids = _ids(shapes_folder / "annotations" / "panoptic_train_base" / full["file_name"])
        is_novel = np.isin(ids, [info["id"] for info in novel])
        assert (base_ids[is_novel] == 0).all()
        assert np.array_equal(base_ids[~is_novel], ids[~is_novel])
        novel_seen += len(novel)
    assert novel_seen > 40  # about four tenths of the things, and a third of the stuff, of 40 images
    instances = _json(shapes_folder, "instances_train_base.json")["annotations"]
    assert instances
    assert not NOVEL_IDS & {annotation["category_id"] for annotation in instances}


def test_every_image_has_a_caption(shapes_folder):
    sets = [("train", "train", 40), ("val", "val", 8)]
    sets += [("pretrain", "captions_images", 8), ("closeups", "closeups_images", 8)]
    for name, folder, count in sets:
        content = _json(shapes_folder, f"captions_{name}.json")
        assert [a["image_id"] for a in content["annotations"]] == [image["id"] for image in content["images"]]
        assert len(content["images"]) == count
        assert all(annotation["caption"].strip() for annotation in content["annotations"])
        assert all((shapes_folder / folder / image["file_name"]).is_file() for image in content["images"])


def test_finished_folder(shapes_folder):
    manifest = read_manifest(shapes_folder)
    assert manifest["complete"] is True
    assert manifest["spec"] == {
        "num_train": 40,
        "num_val": 8,
        "num_captions": 8,
        "seed": 3,
        "num_closeups": 8,
        "scale": 1,
        "easy": False,
    }
    assert not list(shapes_folder.rglob("*.tmp"))
    assert not (shapes_folder / ".parts").exists()


def test_two_processes_write_what_one_writes(tmp_path, shapes_folder):
    spec = ShapesSpec(num_train=40, num_val=8, num_captions=8, seed=3, num_closeups=8, scale=1)
    assert _files(write_shapes(tmp_path / "two", spec, num_workers=2, progress=False)) == _files(shapes_folder)


def test_a_smaller_set_has_the_same_first_images_and_grows(tmp_path, shapes_folder):
    folder = write_shapes(tmp_path / "small", ShapesSpec(5, 0, 0, seed=3, scale=1), progress=False)
    for name, content in _files(folder / "train").items():
        assert content == (shapes_folder / "train" / name).read_bytes()
    write_shapes(folder, ShapesSpec(40, 8, 8, seed=3, num_closeups=8, scale=1), progress=False)
    assert _files(folder) == _files(shapes_folder)


def test_another_seed_renders_other_images(tmp_path, shapes_folder):
    folder = write_shapes(tmp_path / "other", ShapesSpec(1, 0, 0, seed=4, scale=1), progress=False)
    name = "000000000001.png"
    assert (folder / "train" / name).read_bytes() != (shapes_folder / "train" / name).read_bytes()


def test_an_interrupted_run_is_resumed(tmp_path, shapes_folder, monkeypatch):
    spec = ShapesSpec(num_train=40, num_val=8, num_captions=8, seed=3, num_closeups=8, scale=1)
    rendered = []
    original = dataset.render_image

    def stops_in_the_second_chunk(split, index, *world):
        if len(rendered) == 35:
            raise KeyboardInterrupt
        rendered.append((split, index))
        return original(split, index, *world)

    monkeypatch.setattr(dataset, "render_image", stops_in_the_second_chunk)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / "cut", spec, progress=False)
    assert read_manifest(tmp_path / "cut")["complete"] is False
    assert not list((tmp_path / "cut").glob("annotations/*.json"))
    rendered_before = list(rendered)
    rendered.clear()

    monkeypatch.setattr(dataset, "render_image", lambda *args: (rendered.append(args[:2]), original(*args))[1])
    write_shapes(tmp_path / "cut", spec, progress=False)
    assert _files(tmp_path / "cut") == _files(shapes_folder)
    assert len(rendered_before) == 35
    assert ("train", 0) not in rendered  # the first chunk of 32 was kept
    assert ("train", 32) in rendered


class TestFoldersOfOtherTools:
    SPEC = ShapesSpec(1, 0, 0)

    def test_other_files_are_not_overwritten(self, tmp_path):
        (tmp_path / "holiday.jpg").write_bytes(b"x")
        with pytest.raises(FileExistsError, match="not made by make_shapes"):
            write_shapes(tmp_path, self.SPEC, progress=False)
        assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]

    @pytest.mark.parametrize("text", ["", "[]", '{"name": "other"}', "\xff"])
    def test_another_manifest_is_ignored(self, tmp_path, text):
        (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
        assert read_manifest(tmp_path) is None
        with pytest.raises(FileExistsError, match="not made by make_shapes"):
            write_shapes(tmp_path, self.SPEC, progress=False)

    def test_a_file_is_not_a_folder(self, tmp_path):
        (tmp_path / "shapes").write_bytes(b"")
        with pytest.raises(FileExistsError, match="is a file"):
            write_shapes(tmp_path / "shapes", self.SPEC, progress=False)

    def test_an_empty_folder_is_used(self, tmp_path):
        assert (write_shapes(tmp_path, self.SPEC, progress=False) / "train" / "000000000001.png").is_file()


class TestExistingShapesFolders:
    def test_finished_is_an_error_unless_exist_ok(self, shapes_folder):
        before = _files(shapes_folder)
        spec = ShapesSpec(num_train=20, num_val=8, num_captions=0, seed=3, scale=1)
        with pytest.raises(FileExistsError, match="already exists.*--exist-ok"):
            write_shapes(shapes_folder, spec, progress=False)
        assert write_shapes(shapes_folder, spec, exist_ok=True, progress=False) == shapes_folder
        assert _files(shapes_folder) == before

    @pytest.mark.parametrize(
        "spec",
        [
            ShapesSpec(40, 8, 8, seed=4, scale=1),
            ShapesSpec(50, 0, 8, seed=3, scale=1),
            ShapesSpec(40, 8, 8, 3, 8),
            ShapesSpec(40, 8, 8, 3, 8, scale=1, easy=True),
        ],
    )
    def test_existing_images_are_not_deleted(self, shapes_folder, spec):
        with pytest.raises(FileExistsError, match="does not include"):
            write_shapes(shapes_folder, spec, exist_ok=True, progress=False)

    def test_another_version_of_the_world(self, tmp_path, shapes_folder, monkeypatch):
        folder = shutil.copytree(shapes_folder, tmp_path / "copy")
        monkeypatch.setattr(dataset, "WORLD_VERSION", dataset.WORLD_VERSION + 1)
        with pytest.raises(FileExistsError, match="version"):
            write_shapes(folder, ShapesSpec(40, 8, 8, seed=3, num_closeups=8, scale=1), exist_ok=True, progress=False)


@pytest.mark.parametrize(
    "numbers, message",
    [
        ((-1, 0, 0), "num_train must be from 0"),
        ((1, 1, 1, -5), "seed must be from 0"),
        ((0, 0, 0), "Nothing to render"),
        ((1, 0, 0, 0, 0, 0), "scale must be from 1 to 8"),
        ((10**9, 0, 0), "num_train must be from 0 to"),
    ],
)
def test_invalid_specs(numbers, message):
    with pytest.raises(ValueError, match=message):
        ShapesSpec(*numbers)
