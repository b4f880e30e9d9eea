"""Fusion of the masks and class scores of one image by the tasks that are on."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from masqclip_d2.fusion import ClassScores
from masqclip_d2.meta_arch.predictions import fuse
from masqclip_d2.meta_arch.tasks import TASK_NAMES, Tasks
from masqclip_d2.ops.output_masks import TILE_SIZE
from masqclip_d2.structures import MaskProposals


def test_order_of_resizing_and_summing_is_that_of_the_key():
    """One mask whose edge lies between pixels, shown twice as large: a sigmoid of means is no mean of sigmoids."""
    proposals = MaskProposals(torch.tensor([[[-8.0, 8.0, 8.0, 8.0]]]), torch.ones(1), (1, 3), (1, 4))
    scores = ClassScores(torch.tensor([[1.0]]))
    tasks = Tasks(panoptic=False, instance=False, class_maps=True)
    first = fuse(scores, proposals, (True,), (1, 6), tasks)
    later = fuse(scores, proposals, (True,), (1, 6), replace(tasks, resize_masks_first=False))
    # New pixels lie at 0, 0.25, 0.75, 1.25 and so on of the three that are the image: logits -8, -4, 4, 8, 8, 8.
    logits = torch.tensor([-8.0, -4.0, 4.0, 8.0, 8.0, 8.0])
    torch.testing.assert_close(first["sem_seg"][0, 0], logits.sigmoid())
    low, high = torch.tensor([-8.0, 8.0]).sigmoid()
    expected = torch.stack([low, 0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, high, high, high])
    torch.testing.assert_close(later["sem_seg"][0, 0], expected)
    for prediction in (first, later):
        torch.testing.assert_close(prediction["sem_seg_confidence"], prediction["sem_seg"][0])


def test_nothing_is_predicted_with_confidence_outside_of_given_masks():
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2] = masks[1, :, :1] = True
    scores = ClassScores(torch.rand(2, 3) + 0.1)
    given = fuse(scores, MaskProposals.from_binary_masks(masks), (True,) * 3, (4, 4), Tasks())
    predicted = MaskProposals(torch.where(masks, 10.0, -10.0), torch.ones(2), (4, 4))
    expected = fuse(scores, predicted, (True,) * 3, (4, 4), Tasks())
    assert torch.equal(given["sem_seg_labels"], expected["sem_seg_labels"])
    inside = masks.any(dim=0)
    assert torch.equal(given["sem_seg_confidence"], torch.where(inside, expected["sem_seg_confidence"], 0.0))
    assert (expected["sem_seg_confidence"] > 0).all()


KEYS = {
    "panoptic": {"panoptic_seg"},
    "semantic": {"sem_seg_labels", "sem_seg_confidence"},
    "instance": {"instances"},
}


@pytest.mark.parametrize("task", TASK_NAMES)
def test_only_the_predictions_of_a_task_are_made(task):
    proposals = MaskProposals(torch.randn(3, 4, 4), torch.ones(3), (8, 8))
    scores = ClassScores(torch.rand(3, 2), torch.ones(3))  # reject_probs matter to panoptic inference alone
    tasks = Tasks().only(task)
    predictions = fuse(scores, proposals, (True, True), (5, 6), tasks)
    assert set(predictions) == KEYS[task]
    if task == "panoptic":
        ids, segments = predictions["panoptic_seg"]
        assert ids.shape == (5, 6) and segments == [] and not ids.any()
    elif task == "semantic":
        assert predictions["sem_seg_labels"].shape == (5, 6) and predictions["sem_seg_confidence"].min() > 0
    else:
        assert predictions["instances"].image_size == (5, 6) and len(predictions["instances"]) == 6


class _LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [tensor.numel() for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("task", TASK_NAMES)
def test_memory_does_not_grow_with_the_number_of_categories(task, background):
    """Scores apart: they are (Q, K), and no task makes a map per category, which would be 115 million elements here."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(6, 24, 32, generator=generator) * 5
    proposals = MaskProposals(masks, torch.ones(6), (96, 128), (96, 128))
    largest = {}
    for number in (10, 150, 1_203, 10_000):
        probs = torch.rand(6, number, generator=generator)
        scores = ClassScores(probs, background_probs=torch.rand(6, number, generator=generator) if background else None)
        with _LargestTensor() as seen:
            fuse(scores, proposals, (True,) * number, (96, 120), replace(Tasks().only(task), topk=5))
        largest[number] = seen.elements
    assert largest[10_000] <= max(TILE_SIZE, 2 * 6 * 10_000)
    if task != "semantic":
        assert largest[10_000] <= max(largest[10], 2 * 6 * 10_000)
