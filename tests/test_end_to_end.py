"""From the files as published to numbers: prepare, register, check, and one evaluation over every dataset.

Miniatures in the original formats stand for the downloads, the shipped Shapes model for a trained one; so numbers mean
nothing here, but that every evaluator of every dataset gives them.
"""

import importlib.util
import json

import pytest
from detectron2.data import MetadataCatalog

from masqclip_d2.cli.check_data import main as check_data
from masqclip_d2.cli.prepare import main as prepare
from masqclip_d2.cli.train import main as train
from masqclip_d2.data import registration
from tests import original_formats

PANOPTIC = {"panoptic_seg": "PQ", "sem_seg": "mIoU", "segm": "AP"}
# Preparation -> its datasets, without prefix -> one number of each answer that they are evaluated by. Each preparation
# has a folder of its own, as the miniatures of COCO and its split have other instances.
DATASETS = {
    "coco": {"coco_panoptic_val": PANOPTIC},
    "coco_split": {
        "coco_instance_val_base48": {"segm": "AP50_base"},
        "coco_instance_val_novel17": {"segm": "AP50_novel"},
        "coco_instance_val_instances65": {"segm": "AP50_novel"},
    },
    "ade20k": {
        "ade20k_panoptic_val": PANOPTIC,
        "ade20k_sem_seg_val": {"sem_seg": "mIoU_gt_or_pred"},
        "ade20k_instance_val": {"segm": "AP"},
    },
    "ade20k_full": {"ade20k_full_sem_seg_val": {"sem_seg": "mIoU"}},
    "pascal_context": {
        "pascal_context_59_sem_seg_val": {"sem_seg": "mIoU"},
        "pascal_context_459_sem_seg_val": {"sem_seg": "mIoU"},
    },
    "pascal_voc": {
        "pascal_voc_20_sem_seg_val": {"sem_seg": "mIoU"},
        "pascal_voc_21_sem_seg_val": {"sem_seg": "mIoU"},
    },
    "lvis": {"lvis_v1_val": {"segm": "APc"}},
}
WRITERS = {"coco": "write_coco_panoptic", "coco_split": "write_coco_instances"}
REGISTRATIONS = {"coco": "register_coco_panoptic"}
NEED_NO_PREPARATION = ("lvis",)


@pytest.mark.slow
def test_every_dataset_from_its_published_files_to_numbers(tmp_path, capsys):
    expected = {}
    for dataset, answers in DATASETS.items():
        if dataset == "lvis" and importlib.util.find_spec("lvis") is None:
            continue  # its evaluator is an extra
        root = tmp_path / dataset
        getattr(original_formats, WRITERS.get(dataset, f"write_{dataset}"))(root)
        if dataset not in NEED_NO_PREPARATION:
            prepare([dataset, "--root", str(root), "--splits", "val"])
        for name in getattr(registration, REGISTRATIONS.get(dataset, f"register_{dataset}"))(root, prefix="e2e_"):
            _expect_as_many_images_as_there_are(name)
        expected |= {f"e2e_{name}": numbers for name, numbers in answers.items()}
    capsys.readouterr()

    check_data(list(expected))
    checked = capsys.readouterr().out
    assert "FAILED" not in checked and f"{len(expected)} of {len(expected)} datasets passed all checks." in checked

    names = str(tuple(expected))
    small = ["INPUT.MIN_SIZE_TEST", "64", "DATALOADER.NUM_WORKERS", "0", "OUTPUT_DIR", str(tmp_path / "output")]
    shapes_model = ["--config-file", "shapes/maskclip_worma", "--num-gpus", "0", "--eval-only"]
    train([*shapes_model, "DATASETS.TEST", names, *small])
    results = json.loads((tmp_path / "output" / "results.json").read_text())["results"]
    assert set(results) == set(expected)
    for name, numbers in expected.items():
        for answer, key in numbers.items():
            value = results[name][answer][key]
            assert value is not None and 0 <= value <= 100, (name, answer, key, value)
    log = (tmp_path / "output" / "log.txt").read_text()
    assert all(log.count(f"on {name}:") == 1 for name in expected)


def _expect_as_many_images_as_there_are(name):
    """As if the published set were the miniature."""
    metadata = MetadataCatalog.get(name)
    if hasattr(metadata, "published_images"):
        del metadata.published_images
        metadata.published_images = (1,)
