import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2.config import load_config
from masqclip_d2.data.mappers import build_mapper
from masqclip_d2.data.registration import register_lvis
from masqclip_d2.evaluation.dataset_metadata import category_groups
from masqclip_d2.vocabulary import Vocabulary
from tests.original_formats import read_json, scores_of_the_ground_truth, write_json, write_lvis


def test_metadata():
    metadata = MetadataCatalog.get("masqclip_lvis_v1_val")
    assert metadata.evaluator_type == "lvis" and metadata.detections_per_image == 300
    assert len(metadata.thing_classes) == 1203 and metadata.thing_classes[0] == "aerosol can"
    assert metadata.thing_dataset_id_to_contiguous_id[1203] == 1202
    assert [len(category_groups(metadata)[group]) for group in ("base", "novel")] == [866, 337]  # f + c, r
    vocabulary = Vocabulary.from_metadata(metadata)
    assert vocabulary.synonyms[0] == ("aerosol can", "spray can")


def test_records_find_images_by_their_address(tmp_path):
    write_lvis(tmp_path)
    register_lvis(tmp_path, prefix="mini_")
    records = DatasetCatalog.get("mini_lvis_v1_val")
    assert [record["image_id"] for record in records] == [11, 12]
    assert records[0]["file_name"] == str(tmp_path / "coco" / "train2017" / "000000000011.jpg")
    assert records[1]["file_name"] == str(tmp_path / "coco" / "val2017" / "000000000012.jpg")
    assert [record["annotations"][0]["category_id"] for record in records] == [1202, 0]
    assert (records[0]["neg_category_ids"], records[0]["not_exhaustive_category_ids"]) == ([3], [2])
    mapper = build_mapper(load_config("base/shapes", ["INPUT.DATASET_MAPPER_NAME", "instance"]), False, True)
    mapped = mapper(records[1])
    assert mapped["instances"].gt_classes.tolist() == [0] and (mapped["height"], mapped["width"]) == (2, 3)


def test_the_ground_truth_scores_100(tmp_path):
    pytest.importorskip("lvis", reason="pip install --no-deps lvis")
    write_lvis(tmp_path)
    register_lvis(tmp_path, prefix="scored_")
    (task,) = (scores := scores_of_the_ground_truth("scored_lvis_v1_val"))
    assert task == "segm"
    assert scores["segm"]["AP"] == scores["segm"]["APc"] == scores["segm"]["AP_base"] == pytest.approx(100)


@pytest.mark.parametrize(
    "change, match",
    [
        (
            {"category_id": 1204},
            "annotation 1 has category id 1204, which is not among the 1203 categories of the dataset",
        ),
        ({"image_id": 5}, "annotations of image 5, which is not among its 2 images"),
    ],
)
def test_wrong_annotations(tmp_path, change, match):
    path = write_lvis(tmp_path)
    content = read_json(path)
    content["annotations"][0].update(change)
    write_json(path, content)
    prefix = f"wrong_{next(iter(change))}_"
    register_lvis(tmp_path, prefix=prefix)
    with pytest.raises(ValueError, match=match):
        DatasetCatalog.get(f"{prefix}lvis_v1_val")


def test_nothing_there(tmp_path):
    register_lvis(tmp_path, prefix="none_")
    with pytest.raises(FileNotFoundError, match="lvis_v1_val.json; download it from lvisdataset.org into"):
        DatasetCatalog.get("none_lvis_v1_val")
