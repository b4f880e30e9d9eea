"""Memory of evaluations of many images: none per image but the results that COCO's evaluation needs at its end."""

from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances

from masqclip_d2.evaluation.instance import InstanceEvaluator
from masqclip_d2.evaluation.panoptic import PanopticEvaluator
from masqclip_d2.evaluation.semantic import SemanticEvaluator

NUM_PREDICTIONS = 500

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of the process")


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def growth(evaluator, record, output, num_images):
    """Bytes by which the process grew while it evaluated images, after some that warm it up."""
    for _ in range(20):
        evaluator.process([record], [output])
    before = resident_bytes()
    for _ in range(num_images):
        evaluator.process([record], [output])
    return resident_bytes() - before


@pytest.mark.parametrize(("evaluator_class", "num_images"), [(SemanticEvaluator, 2000), (PanopticEvaluator, 2000)])
def test_memory_is_flat(evaluator_class, num_images, mini_shapes):
    record = DatasetCatalog.get("mini_shapes_val")[0]
    labels = torch.zeros(record["height"], record["width"], dtype=torch.int64)
    segments = [{"id": 1, "isthing": True, "category_id": 0}]
    output = {"sem_seg_labels": labels, "panoptic_seg": (labels.int() + 1, segments)}
    assert growth(evaluator_class("mini_shapes_val"), record, output, num_images) < 10e6


def test_instances_take_about_a_kilobyte_each(mini_shapes):
    record = DatasetCatalog.get("mini_shapes_val")[0]
    masks = torch.zeros(NUM_PREDICTIONS, record["height"], record["width"], dtype=torch.bool)
    masks[:, 10:30, 20:50] = True
    instances = Instances(masks.shape[1:], pred_masks=masks, pred_boxes=Boxes(torch.zeros(NUM_PREDICTIONS, 4)))
    instances.scores = torch.rand(NUM_PREDICTIONS)
    instances.pred_classes = torch.zeros(NUM_PREDICTIONS, dtype=torch.int64)
    grown = growth(InstanceEvaluator("mini_shapes_val"), record, {"instances": instances}, 20)
    assert grown < 3e3 * NUM_PREDICTIONS * 20  # the allocator takes memory in larger pieces
