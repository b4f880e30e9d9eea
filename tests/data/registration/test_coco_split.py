"""The open-vocabulary instance split of COCO: categories, groups, records of a miniature."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2.categories import load_categories
from masqclip_d2.categories.lists import category_list
from masqclip_d2.data.registration import register_coco_split
from masqclip_d2.evaluation.dataset_metadata import category_groups
from masqclip_d2.vocabulary import Vocabulary


@pytest.fixture
def coco_split_folder(tmp_path):
    """The split's validation files for three images, in COCO's format, each with one object of the category named."""
    ids = {category.name: category.id for category in load_categories("coco")}
    folder = tmp_path / "coco" / "annotations" / "ov_split_48_17"
    folder.mkdir(parents=True)
    for suffix, subset in (("seen48", "base48"), ("unseen17", "novel17"), ("instances65", "instances65")):
        categories = [{"id": c.id, "name": c.name} for c in category_list(f"coco_{subset}")]
        kept = [name for name in ("person", "cat", "zebra") if ids[name] in {c["id"] for c in categories}]
        content = {
            "images": [{"id": n, "file_name": f"{name}.jpg", "height": 9, "width": 9} for n, name in enumerate(kept)],
            "annotations": [
                {
                    "id": n + 1,
                    "image_id": n,
                    "category_id": ids[name],
                    "bbox": [1, 1, 4, 4],
                    "area": 16,
                    "iscrowd": 0,
                    "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]],
                }
                for n, name in enumerate(kept)
            ],
            "categories": categories,
        }
        (folder / f"instances_val2017_{suffix}.json").write_text(json.dumps(content))
    return tmp_path


def test_coco_split_counts_and_groups():
    metadata = MetadataCatalog.get("masqclip_coco_instance_val_instances65")
    names = metadata.thing_classes
    assert len(names) == 65 and names[:5] == ["person", "bicycle", "car", "motorcycle", "airplane"]
    assert [names[i] for i in category_groups(metadata)["novel"]][:4] == ["airplane", "bus", "cat", "dog"]
    assert len(category_groups(metadata)["base"]) == 48
    base, novel = (
        MetadataCatalog.get(f"masqclip_coco_instance_train_{s}").thing_classes for s in ("base48", "novel17")
    )
    assert (len(base), len(novel)) == (48, 17) and set(base) | set(novel) == set(names)
    assert "traffic light" not in names  # one of the 15 that the protocol excludes
    assert len(Vocabulary.from_metadata(metadata)) == 65


def test_coco_split_records_have_contiguous_ids_of_their_subset(coco_split_folder, forget):
    register_coco_split(coco_split_folder, prefix="mini_")
    records = DatasetCatalog.get("mini_coco_instance_val_instances65")
    names = MetadataCatalog.get("mini_coco_instance_val_instances65").thing_classes
    assert [names[record["annotations"][0]["category_id"]] for record in records] == ["person", "cat", "zebra"]
    (novel,) = DatasetCatalog.get("mini_coco_instance_val_novel17")  # neither person nor zebra is novel
    assert novel["annotations"][0]["category_id"] == 2
    assert novel["file_name"] == str(coco_split_folder / "coco" / "val2017" / "cat.jpg")


def test_coco_split_without_files_is_reported_with_the_command(tmp_path, forget):
    register_coco_split(tmp_path, prefix="absent_")
    with pytest.raises(
        FileNotFoundError,
        match="instances_train2017_seen48.json; prepare it with: masqclip prepare coco_split --root",
    ):
        DatasetCatalog.get("absent_coco_instance_train_base48")
