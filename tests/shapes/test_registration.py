"""Datasets of a Shapes folder: records, metadata, missing and unfinished folders."""

import importlib
import json
import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2.categories import load_categories
from masqclip_d2.evaluation.dataset_metadata import category_groups
from masqclip_d2.shapes import registration
from masqclip_d2.shapes.registration import register_shapes
from masqclip_d2.shapes.rendering import ShapesSpec, write_shapes
from masqclip_d2.vocabulary import Vocabulary

NAMES = ["shapes_train", "shapes_train_all", "shapes_val", "shapes_train_instances", "shapes_val_instances"]


def test_default_names_are_registered_and_importing_twice_has_no_effect():
    importlib.reload(registration)
    assert {f"masqclip_{name}" for name in [*NAMES, "shapes_captions", "shapes_closeups"]} <= set(DatasetCatalog.list())


def test_panoptic_records(shapes_datasets, shapes_folder):
    records = DatasetCatalog.get(shapes_datasets["shapes_val"])
    content = json.loads((shapes_folder / "annotations" / "panoptic_val.json").read_text())
    contiguous = {category.id: category for category in load_categories("shapes")}
    assert len(records) == 8
    for record, image, annotation in zip(records, content["images"], content["annotations"], strict=True):
        assert record["image_id"] == image["id"] == annotation["image_id"]
        assert (record["height"], record["width"]) == (image["height"], image["width"])
        for key in ("file_name", "pan_seg_file_name", "sem_seg_file_name"):
            assert record[key].startswith(str(shapes_folder))
            assert record[key].endswith(image["file_name"])
        for found, raw in zip(record["segments_info"], annotation["segments_info"], strict=True):
            assert found["category_id"] == contiguous[raw["category_id"]].contiguous_id
            assert found["isthing"] is contiguous[raw["category_id"]].isthing
            assert (found["id"], found["area"], found["bbox"]) == (raw["id"], raw["area"], raw["bbox"])


def test_train_has_base_categories_and_train_all_has_all(shapes_datasets):
    base = DatasetCatalog.get(shapes_datasets["shapes_train"])
    everything = DatasetCatalog.get(shapes_datasets["shapes_train_all"])
    assert [record["file_name"] for record in base] == [record["file_name"] for record in everything]
    names, all_names = (
        MetadataCatalog.get(shapes_datasets[name]).stuff_classes for name in ("shapes_train", "shapes_train_all")
    )
    novel = {category.name for category in load_categories("shapes") if category.novel}
    assert len(names) == 24 and not set(names) & novel and len(all_names) == 42
    used = {info["category_id"] for record in base for info in record["segments_info"]}
    used_all = {info["category_id"] for record in everything for info in record["segments_info"]}
    assert max(used) < 24 and {all_names[i] for i in used_all} & novel
    # The same segment has the same name in both, but another id.
    by_id = {(r["image_id"], s["id"]): all_names[s["category_id"]] for r in everything for s in r["segments_info"]}
    assert all(by_id[r["image_id"], s["id"]] == names[s["category_id"]] for r in base for s in r["segments_info"])
    instances = DatasetCatalog.get(shapes_datasets["shapes_train_instances"])
    assert max(a["category_id"] for record in instances for a in record["annotations"]) < 20


@pytest.mark.parametrize("name", ["shapes_train_all", "shapes_val"])
def test_panoptic_metadata(shapes_datasets, name):
    metadata = MetadataCatalog.get(shapes_datasets[name])
    assert len(metadata.thing_classes) == len(metadata.thing_colors) == 36
    assert len(metadata.stuff_classes) == len(metadata.stuff_colors) == 42
    assert metadata.stuff_classes[:36] == metadata.thing_classes
    assert sorted(metadata.stuff_dataset_id_to_contiguous_id.values()) == list(range(42))
    assert sorted(metadata.thing_dataset_id_to_contiguous_id.values()) == list(range(36))
    assert sorted(category_groups(metadata)["base"] + category_groups(metadata)["novel"]) == list(range(42))
    assert len(category_groups(metadata)["novel"]) == 18
    assert metadata.evaluator_type == "coco_panoptic_seg"
    assert (metadata.ignore_label, metadata.label_divisor) == (255, 1000)


@pytest.mark.parametrize("name, count", [("shapes_val", 42), ("shapes_val_instances", 36)])
def test_vocabulary_comes_from_metadata(shapes_datasets, name, count):
    metadata = MetadataCatalog.get(shapes_datasets[name])
    vocabulary = Vocabulary.from_metadata(metadata)
    assert len(vocabulary) == count
    assert list(vocabulary.names) == metadata.stuff_classes
    assert sum(vocabulary.is_thing) == 36
    assert vocabulary.names[vocabulary.groups["novel"][0]] == "zigzag circle"


def test_instance_records_equal_those_of_detectron2s_reader(shapes_datasets):
    from detectron2.data.datasets import load_coco_json

    metadata = MetadataCatalog.get(shapes_datasets["shapes_val_instances"])
    records = DatasetCatalog.get(shapes_datasets["shapes_val_instances"])
    expected = load_coco_json(metadata.json_file, metadata.image_root, shapes_datasets["shapes_val_instances"])
    assert records == expected
    assert metadata.evaluator_type == "coco"


@pytest.mark.parametrize("name", ["shapes_captions", "shapes_closeups"])
def test_caption_records(shapes_datasets, name):
    records = DatasetCatalog.get(shapes_datasets[name])
    assert len(records) == 8
    assert set(records[0]) == {"file_name", "image_id", "height", "width", "caption"}
    assert MetadataCatalog.get(shapes_datasets[name]).evaluator_type == "masqclip_captions"


def test_another_folder_needs_another_prefix(tmp_path, shapes_folder, forget):
    names = register_shapes(shapes_folder, prefix="twice_")
    assert register_shapes(shapes_folder, prefix="twice_") == names
    with pytest.raises(ValueError, match="'twice_shapes_train' is already registered, for .*another prefix"):
        register_shapes(tmp_path, prefix="twice_")
    assert register_shapes(tmp_path, prefix="thrice_")[2] == "thrice_shapes_val"


def test_the_default_root_is_detectron2_datasets(tmp_path, monkeypatch, forget):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_shapes(prefix="rooted_")
    assert MetadataCatalog.get("rooted_shapes_val").image_root == str(tmp_path / "shapes" / "val")


@pytest.mark.parametrize("name", [*NAMES, "shapes_captions", "shapes_closeups"])
def test_a_missing_folder_is_reported_with_the_command(tmp_path, name, forget):
    register_shapes(tmp_path / "nowhere", prefix="absent_")
    with pytest.raises(FileNotFoundError, match=r"masqclip make-shapes --output .*nowhere") as caught:
        DatasetCatalog.get(f"absent_{name}")
    assert "\n" not in str(caught.value)


def test_an_unfinished_folder_is_reported_with_the_command_to_resume(tmp_path, shapes_folder, forget):
    folder = shutil.copytree(shapes_folder, tmp_path / "half")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))
    register_shapes(folder, prefix="half_")
    with pytest.raises(
        FileNotFoundError,
        match="unfinished.*--num-train 40 --num-val 8 --num-captions 8 --seed 3 --num-closeups 8 --scale 1$",
    ):
        DatasetCatalog.get("half_shapes_val")


def test_the_command_of_an_easy_world_has_its_flag(tmp_path, forget):
    write_shapes(tmp_path / "easy", ShapesSpec(1, 1, 0, easy=True), progress=False)
    manifest = json.loads((tmp_path / "easy" / "manifest.json").read_text())
    (tmp_path / "easy" / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))
    register_shapes(tmp_path / "easy", prefix="easy_")
    with pytest.raises(FileNotFoundError, match="--scale 2 --easy$"):
        DatasetCatalog.get("easy_shapes_val")


def test_another_version_of_the_world_is_refused_in_one_sentence(tmp_path, shapes_folder, forget):
    folder = shutil.copytree(shapes_folder, tmp_path / "old")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "world_version": 3}))
    register_shapes(folder, prefix="old_")
    for name in NAMES:
        with pytest.raises(ValueError, match="version 3 of the world.*version 4; .*masqclip make-shapes") as caught:
            DatasetCatalog.get(f"old_{name}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale, limits", [(1, (24**2, 48**2)), (2, (48**2, 96**2))])
def test_area_limits_are_the_same_lengths_in_units_at_each_scale(tmp_path, scale, limits, forget):
    write_shapes(tmp_path / "world", ShapesSpec(1, 1, 0, scale=scale), progress=False)
    register_shapes(tmp_path / "world", prefix="scaled_")
    assert MetadataCatalog.get("scaled_shapes_val").area_limits == limits
    register_shapes(tmp_path / "none", prefix="later_")  # a folder that does not exist yet
    assert MetadataCatalog.get("later_shapes_val").area_limits == (48**2, 96**2)


def test_missing_captions_are_reported_with_the_command(tmp_path, shapes_folder, forget):
    folder = shutil.copytree(shapes_folder, tmp_path / "bare")
    (folder / "annotations" / "captions_pretrain.json").unlink()
    register_shapes(folder, prefix="bare_")
    with pytest.raises(FileNotFoundError, match="captions_pretrain.json; render it with"):
        DatasetCatalog.get("bare_shapes_captions")
