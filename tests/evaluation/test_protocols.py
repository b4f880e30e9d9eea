"""The published protocols from the datasets' original files to metrics: COCO's split, ADE20K's ids, LVIS, all in one
run with the vocabulary of each dataset."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from masqclip_d2.data import registration
from masqclip_d2.data.preparation import prepare
from masqclip_d2.engine.trainer import Trainer
from masqclip_d2.evaluation import InstanceEvaluator
from masqclip_d2.fusion import boxes_from_masks
from masqclip_d2.meta_arch.open_vocabulary import OpenVocabularySegmenter
from tests import original_formats
from tests.helpers import TINY_CLIP, tiny_config

PREFIX = "protocol_"


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Miniatures of COCO's split, ADE20K, Pascal Context and LVIS, prepared and registered; {name without prefix}."""
    root = tmp_path_factory.mktemp("datasets")
    for name in ("coco_instances", "ade20k", "pascal_context", "lvis"):
        getattr(original_formats, f"write_{name}")(root)
    for name in ("coco_split", "ade20k", "pascal_context"):
        prepare(name, root, splits=["val"], progress=False)
    registered = []
    for name in ("coco_split", "ade20k", "pascal_context", "lvis"):
        registered += getattr(registration, f"register_{name}")(root, prefix=PREFIX)
    yield {name.removeprefix(PREFIX) for name in registered}
    for name in registered:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def instances(rows, hw, name):
    """Instances from rows of (category name, score, mask); category ids are those of the dataset."""
    categories = MetadataCatalog.get(PREFIX + name).vocabulary["names"]
    masks = torch.from_numpy(np.array([mask for *_, mask in rows], dtype=bool).reshape(-1, *hw))
    found = Instances(hw, pred_masks=masks, pred_boxes=Boxes(boxes_from_masks(masks)))
    found.scores = torch.tensor([score for _, score, _ in rows])
    found.pred_classes = torch.tensor([categories.index(category) for category, *_ in rows], dtype=torch.int64)
    return found


def metrics(name, predictions, hw):
    """Mask AP of predictions {image id: rows}, of which the rows with a category of the dataset are evaluated."""
    categories = MetadataCatalog.get(PREFIX + name).vocabulary["names"]
    evaluator = InstanceEvaluator(PREFIX + name, tasks=("segm",))
    for record in DatasetCatalog.get(PREFIX + name):
        rows = [row for row in predictions[record["image_id"]] if row[0] in categories]
        evaluator.process([record], [{"instances": instances(rows, hw, name)}])
    return evaluator.evaluate()["segm"]


# Image 7 has a person and a cat on the pixels of its left two columns; image 5 a crowd of cats on the first.
CROWD = [[1, 0, 0], [1, 0, 0]]
LEFT = [[1, 1, 0], [1, 1, 0]]
RIGHT = [[0, 0, 1], [0, 0, 1]]
COCO_PREDICTIONS = {
    7: [("person", 0.9, RIGHT), ("person", 0.8, LEFT), ("cat", 0.7, LEFT)],
    5: [("cat", 0.9, CROWD)],  # on the crowd: neither right nor wrong
}


def test_constrained_settings_have_one_subset_and_its_vocabulary(names):
    base = metrics("coco_instance_val_base48", COCO_PREDICTIONS, (2, 3))
    novel = metrics("coco_instance_val_novel17", COCO_PREDICTIONS, (2, 3))
    assert base["AP50"] == base["AP"] == base["AP50_base"] == pytest.approx(50)  # the best of two is wrong
    assert novel["AP50"] == novel["AP50_novel"] == pytest.approx(100)
    assert "AP-cat" not in base and "AP-person" not in novel
    assert math.isnan(base["AP50_novel"]) and math.isnan(novel["AP50_base"])


def test_generalised_setting_has_base_novel_and_all_among_65_categories(names):
    found = metrics("coco_instance_val_instances65", COCO_PREDICTIONS, (2, 3))
    assert [found[key] for key in ("AP50_base", "AP50_novel", "AP50")] == pytest.approx([50, 100, 75])
    assert [found[key] for key in ("AP_base", "AP_novel", "AP")] == pytest.approx([50, 100, 75])


def test_confusing_base_and_novel_costs_only_in_the_generalised_setting(names):
    predictions = {7: [("person", 0.9, LEFT), ("cat", 0.9, RIGHT), ("cat", 0.5, LEFT)], 5: []}
    assert metrics("coco_instance_val_base48", predictions, (2, 3))["AP50"] == pytest.approx(100)
    found = metrics("coco_instance_val_instances65", predictions, (2, 3))
    assert [found[key] for key in ("AP50_base", "AP50_novel", "AP50")] == pytest.approx([100, 50, 75])


def test_categories_of_the_three_sets(names):
    sizes = {
        subset: len(MetadataCatalog.get(f"{PREFIX}coco_instance_val_{subset}").vocabulary["names"])
        for subset in ("base48", "novel17", "instances65")
    }
    assert sizes == {"base48": 48, "novel17": 17, "instances65": 65}
    images = {s: [r["image_id"] for r in DatasetCatalog.get(f"{PREFIX}coco_instance_val_{s}")] for s in sizes}
    assert images == {"base48": [7], "novel17": [5, 7], "instances65": [5, 7]}  # those with an annotation left


BED = [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
PERSON = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
ELSEWHERE = [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
ADE_PREDICTIONS = {
    original_formats.ADE_VAL: [
        ("bed", 0.9, BED), ("person", 0.8, ELSEWHERE), ("person", 0.7, PERSON), ("wall", 0.9, ELSEWHERE),
    ]
}  # fmt: skip


def test_ade20k_has_the_same_metrics_by_both_numberings_of_categories(names):
    """0..99 of the instance set, and ids among the 150 of the panoptic set, where stuff is predicted, too."""
    found = {name: metrics(name, ADE_PREDICTIONS, (3, 4)) for name in ("ade20k_instance_val", "ade20k_panoptic_val")}
    ids = {name: MetadataCatalog.get(PREFIX + name).vocabulary["names"].index("person") for name in found}
    assert ids == {"ade20k_instance_val": 3, "ade20k_panoptic_val": 12}
    for one in found.values():
        assert [one[key] for key in ("AP-bed", "AP-person", "AP50", "AP")] == pytest.approx([100, 50, 75, 75])
    assert json.dumps(found["ade20k_instance_val"]) == json.dumps(found["ade20k_panoptic_val"])


MANY = (
    "coco_instance_val_base48", "coco_instance_val_novel17", "coco_instance_val_instances65", "ade20k_instance_val",
    "ade20k_panoptic_val", "pascal_context_59_sem_seg_val", "pascal_context_459_sem_seg_val", "lvis_v1_val",
)  # fmt: skip


def test_one_run_evaluates_all_datasets_with_their_vocabularies(names, tmp_path, monkeypatch, caplog):
    pytest.importorskip("lvis", reason="pip install --no-deps lvis")
    sizes, topk = [], []
    set_vocabulary = OpenVocabularySegmenter.set_vocabulary

    def spy(self, vocabulary):
        sizes.append(len(vocabulary))
        set_vocabulary(self, vocabulary)

    def predict(self, *args, **kwargs):
        topk.append(self.tasks.topk)
        return original(self, *args, **kwargs)

    original = OpenVocabularySegmenter.predict
    monkeypatch.setattr(OpenVocabularySegmenter, "set_vocabulary", spy)
    monkeypatch.setattr(OpenVocabularySegmenter, "predict", predict)
    (tmp_path / "clip.json").write_text(json.dumps({**TINY_CLIP, "context_length": 77}))  # for ADE20K's long names
    cfg = tiny_config(
        tmp_path, "MaskCLIP", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tmp_path / "clip.json"), "DATASETS.TEST",
        str(tuple(PREFIX + name for name in MANY)), "DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TEST", "32",
    )  # fmt: skip
    model = Trainer.build_model(cfg)
    with caplog.at_level("INFO"):
        results = Trainer.test(cfg, model)
    assert sizes == [48, 17, 65, 100, 150, 59, 459, 1203]
    assert topk == [100] * 9 + [300] * 2  # one image each, two of the sets with cats and of LVIS
    assert model.tasks.topk == 100
    assert list(results) == [PREFIX + name for name in MANY]
    tasks = [set(results[PREFIX + name]) for name in MANY]
    assert tasks == [{"bbox", "segm"}] * 4 + [{"panoptic_seg", "sem_seg", "bbox", "segm"}] + [{"sem_seg"}] * 2 + [
        {"segm"}
    ]
    assert {"AP", "AP50", "AP75", "APr", "APc", "APf"} <= results[f"{PREFIX}lvis_v1_val"]["segm"].keys()
    found = Path(cfg.OUTPUT_DIR, "inference", f"{PREFIX}lvis_v1_val", "lvis_instances_results.json").read_text()
    counts = np.bincount([result["image_id"] for result in json.loads(found)])
    assert sorted(counts[counts > 0]) == [300, 300]
    lines = [record.getMessage() for record in caplog.records]
    named = [line for line in lines if line.startswith("copypaste: Dataset: ")]
    assert named == [f"copypaste: Dataset: {PREFIX}{name}" for name in MANY]
    written = json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())
    assert set(written["results"]) == set(results) and written["seed"] == 0 and "DATASETS:" in written["config"]
