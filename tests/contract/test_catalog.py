"""detectron2.data catalogs, and the datasets that the import registers."""

import masqclip_d2  # noqa: F401  isort: skip
import pickle

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import ADE20K_SEM_SEG_CATEGORIES, COCO_CATEGORIES


def test_dataset_catalog(dataset_name):
    calls = []

    def load():
        calls.append(1)
        return [{"file_name": "a.jpg"}]

    DatasetCatalog.register(dataset_name, load)
    assert DatasetCatalog.get(dataset_name) == DatasetCatalog.get(dataset_name) == [{"file_name": "a.jpg"}]
    assert len(calls) == 2, "nothing is cached"
    assert dataset_name in DatasetCatalog and dataset_name in DatasetCatalog.list()
    assert DatasetCatalog[dataset_name] is load
    with pytest.raises(AssertionError, match="already registered"):
        DatasetCatalog.register(dataset_name, load)
    DatasetCatalog.remove(dataset_name)
    assert dataset_name not in DatasetCatalog
    with pytest.raises(KeyError, match=f"{dataset_name}.*coco_2017_val"):
        DatasetCatalog.get(dataset_name)
    with pytest.raises(AssertionError):
        DatasetCatalog.register(dataset_name, [{}])


def test_metadata(dataset_name):
    metadata = MetadataCatalog.get(dataset_name)
    assert metadata is MetadataCatalog.get(dataset_name)
    assert metadata.name == dataset_name
    assert metadata.set(thing_classes=["a", "b"], ignore_label=255) is metadata
    metadata.thing_classes = ["a", "b"]  # an equal value is allowed
    with pytest.raises(AssertionError):
        metadata.thing_classes = ["b", "a"]
    assert metadata.thing_classes == ["a", "b"]
    assert not hasattr(metadata, "stuff_classes")
    assert metadata.get("stuff_classes") is None and metadata.get("ignore_label", 0) == 255
    with pytest.raises(AttributeError, match="stuff_classes") as error:
        _ = metadata.stuff_classes
    assert dataset_name in str(error.value) and "ignore_label" in str(error.value)
    copy = metadata.as_dict()
    copy["ignore_label"] = 0
    assert metadata.ignore_label == 255
    assert pickle.loads(pickle.dumps(metadata)).as_dict() == metadata.as_dict()
    with pytest.raises(AssertionError):
        MetadataCatalog.get("")


def test_category_tables():
    assert len(COCO_CATEGORIES) == 133
    assert [c["isthing"] for c in COCO_CATEGORIES] == [1] * 80 + [0] * 53
    assert [c["id"] for c in COCO_CATEGORIES] == sorted(c["id"] for c in COCO_CATEGORIES)
    assert COCO_CATEGORIES[0] == {"color": [220, 20, 60], "isthing": 1, "id": 1, "name": "person"}
    assert (COCO_CATEGORIES[132]["id"], COCO_CATEGORIES[132]["name"]) == (200, "rug-merged")
    assert len(ADE20K_SEM_SEG_CATEGORIES) == 150
    assert (ADE20K_SEM_SEG_CATEGORIES[0], ADE20K_SEM_SEG_CATEGORIES[149]) == ("wall", "flag")
    assert ADE20K_SEM_SEG_CATEGORIES[8] == "window ", "the published name ends in a blank"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("coco_2014_minival", ("coco", "val2014", "annotations/instances_minival2014.json")),
        ("coco_2017_train", ("coco", "train2017", "annotations/instances_train2017.json")),
        ("coco_2017_test-dev", ("coco", "test2017", "annotations/image_info_test-dev2017.json")),
        ("coco_2017_val_panoptic", ("coco_panoptic_seg", "val2017", "annotations/instances_val2017.json")),
        ("coco_2017_val_100_panoptic", ("coco_panoptic_seg", "val2017", "annotations/instances_val2017_100.json")),
    ],
)
def test_builtin_coco(name, expected):
    metadata = MetadataCatalog.get(name)
    evaluator_type, images, json_file = expected
    assert name in DatasetCatalog
    assert metadata.evaluator_type == evaluator_type
    assert metadata.image_root.endswith(f"coco/{images}")
    assert metadata.json_file.endswith(f"coco/{json_file}")
    assert metadata.thing_dataset_id_to_contiguous_id[90] == 79


def test_builtin_panoptic_shares_one_contiguous_space():
    metadata = MetadataCatalog.get("coco_2017_val_100_panoptic")
    assert metadata.panoptic_json.endswith("annotations/panoptic_val2017_100.json")
    assert metadata.panoptic_root.endswith("coco/panoptic_val2017_100")
    assert (metadata.ignore_label, metadata.label_divisor) == (255, 1000)
    assert metadata.thing_classes == metadata.stuff_classes and len(metadata.stuff_classes) == 133
    assert len(metadata.thing_dataset_id_to_contiguous_id) == 80
    stuff_ids = metadata.stuff_dataset_id_to_contiguous_id
    assert (len(stuff_ids), stuff_ids[92], stuff_ids[200]) == (53, 80, 132)


def test_builtin_ade20k():
    metadata = MetadataCatalog.get("ade20k_sem_seg_val")
    assert metadata.sem_seg_root.endswith("ADEChallengeData2016/annotations_detectron2/validation")
    assert metadata.image_root.endswith("ADEChallengeData2016/images/validation")
    assert (metadata.evaluator_type, metadata.ignore_label) == ("sem_seg", 255)
    assert metadata.stuff_classes == list(ADE20K_SEM_SEG_CATEGORIES)
