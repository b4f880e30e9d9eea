"""detectron2.data.datasets: loading of files to dataset dicts, and conversion to COCO format."""

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import convert_to_coco_json, load_coco_json, load_sem_seg, register_coco_instances
from detectron2.data.datasets.coco_panoptic import load_coco_panoptic_json, register_coco_panoptic
from detectron2.structures import BoxMode
from pycocotools import mask as mask_api

import masqclip_d2

PERSON_MASK = [[10, 5, 20, 5, 20, 25, 10, 25]]


class TestCocoInstances:
    def load(self, coco, name):
        register_coco_instances(name, {"note": 1}, coco.instances_json, coco.image_root)
        return DatasetCatalog.get(name)

    def test_images(self, synthetic_coco, dataset_name):
        dicts = self.load(synthetic_coco, dataset_name)
        assert [d["image_id"] for d in dicts] == [3, 7, 12, 20, 31, 40], "sorted, though the file is not"
        assert [(d["width"], d["height"]) for d in dicts] == [
            (60, 40),
            (40, 60),
            (64, 48),
            (30, 40),
            (36, 50),
            (32, 32),
        ]
        assert [len(d["annotations"]) for d in dicts] == [2, 2, 0, 1, 1, 1]
        assert dicts[0]["file_name"] == str(Path(synthetic_coco.image_root) / "landscape.jpg")
        assert set(dicts[0]) == {"file_name", "height", "width", "image_id", "annotations"}

    def test_annotations(self, synthetic_coco, dataset_name):
        landscape, portrait, *_, square = self.load(synthetic_coco, dataset_name)
        person, plane = landscape["annotations"]
        assert person == {
            "iscrowd": 0,
            "bbox": [10, 5, 10, 20],
            "category_id": 0,
            "segmentation": PERSON_MASK,
            "bbox_mode": BoxMode.XYWH_ABS,
        }
        assert plane["category_id"] == 1, "5 in the file"
        assert isinstance(plane["segmentation"]["counts"], str), "a compressed RLE stays as it is"
        crowd, two_parts = portrait["annotations"]
        assert crowd["iscrowd"] == 1 and len(two_parts["segmentation"]) == 2
        for annotation, size, rows, columns in (
            (plane, (40, 60), slice(10, 20), slice(30, 50)),
            (crowd, (60, 40), slice(0, 10), slice(0, 40)),
            (square["annotations"][0], (32, 32), slice(8, 24), slice(8, 24)),
        ):
            expected = np.zeros(size)
            expected[rows, columns] = 1
            assert np.array_equal(mask_api.decode(annotation["segmentation"]), expected)

    def test_metadata(self, synthetic_coco, dataset_name):
        self.load(synthetic_coco, dataset_name)
        metadata = MetadataCatalog.get(dataset_name)
        assert metadata.thing_classes == ["person", "plane"]
        assert metadata.thing_dataset_id_to_contiguous_id == {1: 0, 5: 1}
        assert (metadata.evaluator_type, metadata.json_file) == ("coco", synthetic_coco.instances_json)
        assert metadata.note == 1

    def test_without_name_ids_stay(self, synthetic_coco):
        dicts = load_coco_json(synthetic_coco.instances_json, "root", extra_annotation_keys=["area"])
        assert [a["category_id"] for d in dicts for a in d["annotations"]] == [1, 5, 1, 5, 1, 1, 5]
        assert dicts[0]["annotations"][0]["area"] == 200

    def test_wrong_classes_surface_when_loading(self, synthetic_coco, dataset_name):
        metadata = {"thing_classes": ["plane", "person"]}
        register_coco_instances(dataset_name, metadata, synthetic_coco.instances_json, synthetic_coco.image_root)
        with pytest.raises(AssertionError):
            DatasetCatalog.get(dataset_name)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"bbox": []}, ValueError),
            ({"category_id": 9}, KeyError),
            ({"ignore": 1}, AssertionError),
            ({"id": 2}, AssertionError),
        ],
    )
    def test_wrong_annotations(self, synthetic_coco, dataset_name, tmp_path, change, error):
        content = json.loads(Path(synthetic_coco.instances_json).read_text())
        content["annotations"][0].update(change)
        (tmp_path / "bad.json").write_text(json.dumps(content))
        with pytest.raises(error):
            load_coco_json(str(tmp_path / "bad.json"), synthetic_coco.image_root, dataset_name)

    def test_invalid_polygons_are_dropped(self, synthetic_coco, tmp_path):
        content = json.loads(Path(synthetic_coco.instances_json).read_text())
        content["annotations"][0]["segmentation"] = [[1, 1, 2, 2], PERSON_MASK[0]]
        content["annotations"][4]["segmentation"] = [[1, 1, 2, 2], [1, 2, 3, 4, 5, 6, 7]]
        (tmp_path / "a.json").write_text(json.dumps(content))
        dicts = {d["image_id"]: d for d in load_coco_json(str(tmp_path / "a.json"), "root")}
        assert dicts[3]["annotations"][0]["segmentation"] == PERSON_MASK
        assert dicts[20]["annotations"] == []

    def test_file_without_annotations(self, synthetic_coco, tmp_path):
        content = json.loads(Path(synthetic_coco.instances_json).read_text())
        del content["annotations"]
        (tmp_path / "test.json").write_text(json.dumps(content))
        assert all(d["annotations"] == [] for d in load_coco_json(str(tmp_path / "test.json"), "root"))

    def test_convert_to_coco_json(self, synthetic_coco, dataset_name, tmp_path):
        self.load(synthetic_coco, dataset_name)
        output = tmp_path / "out" / "converted.json"
        convert_to_coco_json(dataset_name, str(output))
        content = json.loads(output.read_text())
        original = json.loads(Path(synthetic_coco.instances_json).read_text())
        assert content["categories"] == [{"id": 1, "name": "person"}, {"id": 5, "name": "plane"}]
        assert sorted(i["id"] for i in content["images"]) == [3, 7, 12, 20, 31, 40]
        for new, old in zip(content["annotations"], original["annotations"], strict=True):
            assert {k: new[k] for k in ("id", "image_id", "category_id", "iscrowd", "area", "bbox")} == {
                k: old[k] for k in ("id", "image_id", "category_id", "iscrowd", "area", "bbox")
            }
        reloaded = load_coco_json(str(output), "", extra_annotation_keys=["area"])
        assert len(reloaded) == 6
        output.write_text("{}")
        convert_to_coco_json(dataset_name, str(output))
        assert output.read_text() == "{}", "an existing file is kept"
        convert_to_coco_json(dataset_name, str(output), allow_cached=False)
        assert json.loads(output.read_text())["images"] == content["images"]

    def test_convert_boxes_only_and_nothing(self, dataset_name, tmp_path):
        dicts = [{"file_name": "a.jpg", "height": 10, "width": 10, "image_id": 4}]
        DatasetCatalog.register(dataset_name, lambda: dicts)
        MetadataCatalog.get(dataset_name).thing_classes = ["a", "b"]
        output = tmp_path / "a.json"
        convert_to_coco_json(dataset_name, str(output))
        assert "annotations" not in json.loads(output.read_text())
        annotation = {"bbox": [1.0, 2.0, 4.0, 6.0], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
        dicts[0]["annotations"] = [annotation]
        convert_to_coco_json(dataset_name, str(output), allow_cached=False)
        (found,) = json.loads(output.read_text())["annotations"]
        assert (found["bbox"], found["area"], found["category_id"]) == ([1, 2, 3, 4], 12, 1)
        assert "segmentation" not in found


class TestCocoPanoptic:
    def test_dicts(self, synthetic_coco, dataset_name):
        coco = synthetic_coco
        register_coco_panoptic(
            dataset_name,
            coco.panoptic_metadata,
            coco.image_root,
            coco.panoptic_root,
            coco.panoptic_json,
            coco.instances_json,
        )
        dicts = DatasetCatalog.get(dataset_name)
        assert [d["image_id"] for d in dicts] == [3, 7, 12, 20, 31, 40]
        assert set(dicts[0]) == {"file_name", "image_id", "pan_seg_file_name", "segments_info"}
        assert dicts[0]["file_name"] == str(Path(coco.image_root) / "landscape.jpg")
        assert dicts[0]["pan_seg_file_name"] == str(Path(coco.panoptic_root) / "landscape.png")
        stuff, person, plane = dicts[0]["segments_info"]
        assert (stuff["category_id"], stuff["isthing"]) == (2, False), "92 in the file"
        assert (person["category_id"], person["isthing"], person["area"]) == (0, True, 200)
        assert (plane["id"], plane["category_id"], plane["bbox"]) == (1 + 2 * (300 + 65536), 1, [30, 10, 20, 10])
        assert stuff["area"] == 60 * 36 - 200 - 200
        assert dicts[1]["segments_info"][1]["iscrowd"] == 1
        assert dicts[1]["segments_info"][0]["category_id"] == 3, "200 in the file"
        metadata = MetadataCatalog.get(dataset_name)
        assert (metadata.evaluator_type, metadata.ignore_label, metadata.label_divisor) == (
            "coco_panoptic_seg",
            255,
            1000,
        )
        assert (metadata.json_file, metadata.panoptic_json) == (coco.instances_json, coco.panoptic_json)
        assert metadata.stuff_classes == ["person", "plane", "banner", "rug"]

    def test_category_in_both_maps_is_a_thing(self, synthetic_coco):
        coco, meta = synthetic_coco, dict(synthetic_coco.panoptic_metadata)
        meta["stuff_dataset_id_to_contiguous_id"] = {1: 0, 5: 1, 92: 2, 200: 3}
        (dicts, *_) = load_coco_panoptic_json(coco.panoptic_json, coco.image_root, coco.panoptic_root, meta)
        assert [s["isthing"] for s in dicts["segments_info"]] == [False, True, True]

    def test_missing_files_and_categories(self, synthetic_coco, tmp_path):
        coco, meta = synthetic_coco, synthetic_coco.panoptic_metadata
        for folders in ((str(tmp_path), coco.panoptic_root), (coco.image_root, str(tmp_path))):
            with pytest.raises(AssertionError):
                load_coco_panoptic_json(coco.panoptic_json, *folders, meta)
        with pytest.raises(KeyError):
            load_coco_panoptic_json(
                coco.panoptic_json,
                coco.image_root,
                coco.panoptic_root,
                {**meta, "stuff_dataset_id_to_contiguous_id": {200: 3}},
            )


class TestSemSeg:
    def test_pairs(self, synthetic_coco):
        dicts = load_sem_seg(synthetic_coco.sem_seg_root, synthetic_coco.image_root)
        stems = ["crowd_only", "empty", "landscape", "portrait", "rotated", "square"]
        assert [Path(d["file_name"]).stem for d in dicts] == stems
        for d in dicts:
            assert set(d) == {"file_name", "sem_seg_file_name"}
            assert (
                Path(d["sem_seg_file_name"]) == Path(synthetic_coco.sem_seg_root) / f"{Path(d['file_name']).stem}.png"
            )

    def test_unequal_folders_are_intersected(self, synthetic_coco, tmp_path):
        for name in ("square.png", "landscape.png", "unknown.png"):
            (tmp_path / name).touch()
        dicts = load_sem_seg(str(tmp_path), synthetic_coco.image_root)
        assert [Path(d["file_name"]).name for d in dicts] == ["landscape.jpg", "square.jpg"]

    def test_nothing(self, synthetic_coco, tmp_path):
        with pytest.raises(AssertionError):
            load_sem_seg(str(tmp_path), synthetic_coco.image_root)

    @pytest.mark.skipif(masqclip_d2.detectron2_backend().kind == "real", reason="the real one pairs them wrongly")
    def test_label_map_without_image(self, tmp_path):
        for folder, name in (("gt", "a.png"), ("images", "b.jpg")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / name).touch()
        with pytest.raises(FileNotFoundError, match="a.png"):
            load_sem_seg(str(tmp_path / "gt"), str(tmp_path / "images"))
