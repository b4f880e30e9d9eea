"""Masks of a user in every accepted type give the same proposals; others are refused with a hint."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from masqclip_d2.coco_masks import run_length
from masqclip_d2.mask_inputs import as_mask_proposals
from masqclip_d2.structures import MaskProposals

HW = (6, 8)
MASKS = np.zeros((3, *HW), dtype=bool)
MASKS[0, :3] = MASKS[1, :, 5:] = True  # the third is empty
SCORES = [0.9, 0.25, 1.0]


def detections(mask=MASKS, confidence=SCORES):
    """With the fields of `supervision.Detections`."""
    return SimpleNamespace(mask=mask, confidence=confidence, xyxy=np.zeros((3, 4)), class_id=None)


class BoxesOnly(SimpleNamespace):
    def __len__(self):
        return 3


def uncompressed(mask):
    """COCO's run lengths as a list, column by column, as SAM writes them."""
    flat = mask.T.flatten()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def sam(segmentations, scores=SCORES):
    rows = zip(segmentations, scores, strict=True)
    return [{"segmentation": s, "predicted_iou": score, "area": 1, "bbox": [0, 0, 1, 1]} for s, score in rows]


WITHOUT_SCORES = {
    "bool array": MASKS,
    "uint8 array": MASKS.astype(np.uint8),
    "uint16 array": MASKS.astype(np.uint16),
    "int64 array": MASKS.astype(np.int64),
    "float16 array of probabilities": np.where(MASKS, 0.7, 0.5).astype(np.float16),
    "float64 array": MASKS.astype(np.float64),
    "array that is not contiguous": np.asfortranarray(MASKS),
    "bool tensor": torch.from_numpy(MASKS),
    "bfloat16 tensor": torch.from_numpy(MASKS).bfloat16(),
    "int32 tensor": torch.from_numpy(MASKS).int(),
    "uint16 tensor": torch.from_numpy(MASKS.astype(np.uint16)),
    "float8 tensor": torch.from_numpy(MASKS).float().to(torch.float8_e4m3fn),
    "sparse tensor": torch.from_numpy(MASKS).float().to_sparse(),
    "run lengths": [run_length(mask) for mask in MASKS],
    "tensor with gradient": torch.from_numpy(MASKS).float().requires_grad_(),
    "list of arrays": list(MASKS),
    "tuple of tensors": tuple(torch.from_numpy(MASKS)),
    "list of nested lists": [mask.astype(int).tolist() for mask in MASKS],
    "SAM's dicts without scores": [{"segmentation": mask} for mask in MASKS],
    "detections without confidence": detections(confidence=None),
    "dict without scores": {"masks": MASKS},
}
WITH_SCORES = {
    "SAM, arrays": sam(MASKS),
    "SAM, tensors": sam(torch.from_numpy(MASKS)),
    "SAM, compressed run lengths": sam([run_length(mask) for mask in MASKS]),
    "SAM, run lengths": sam([uncompressed(mask) for mask in MASKS]),
    "SAM's predicted IoU above 1": sam(MASKS, [0.9, 0.25, 1.02]),
    "SAM's dicts with a score added": [
        {"score": score, **entry} for score, entry in zip(SCORES, sam(MASKS, [0.1, 0.2, 0.3]), strict=True)
    ],
    "COCO's results": [
        {"segmentation": run_length(mask), "score": score} for mask, score in zip(MASKS, SCORES, strict=True)
    ],
    "supervision": detections(confidence=np.array(SCORES, dtype=np.float32)),
    "torchvision": {
        "masks": torch.from_numpy(MASKS)[:, None] * 0.8,
        "scores": torch.tensor(SCORES),
        "labels": torch.tensor([1, 2, 3]),
    },
    "Detectron2": Instances(HW, pred_masks=torch.from_numpy(MASKS), scores=torch.tensor(SCORES)),
}


@pytest.mark.parametrize("kind", WITHOUT_SCORES)
def test_masks_without_scores(kind):
    proposals = as_mask_proposals(WITHOUT_SCORES[kind], HW)
    assert np.array_equal((proposals.mask_logits > 0).numpy(), MASKS)
    assert proposals.object_scores.tolist() == [1, 1, 1]
    assert proposals.image_hw == proposals.padded_hw == HW and not proposals.mask_logits.requires_grad


@pytest.mark.parametrize("kind", WITH_SCORES)
def test_masks_with_scores(kind):
    proposals = as_mask_proposals(WITH_SCORES[kind], HW)
    assert np.array_equal((proposals.mask_logits > 0).numpy(), MASKS)
    torch.testing.assert_close(proposals.object_scores, torch.tensor(SCORES))


def test_a_single_mask_needs_no_first_dimension():
    proposals = as_mask_proposals(MASKS[0], HW)
    assert np.array_equal((proposals.mask_logits > 0).numpy(), MASKS[:1])


def test_mask_proposals_pass_unchanged():
    given = MaskProposals.from_binary_masks(torch.from_numpy(MASKS))
    assert as_mask_proposals(given, HW) is given
    with pytest.raises(ValueError, match=r"for an image of \(6, 8\) pixels, but the image has \(7, 8\)"):
        as_mask_proposals(given, (7, 8))


@pytest.mark.parametrize(
    "masks",
    [[], np.zeros((0, *HW)), torch.zeros(0, *HW), detections(mask=None, confidence=None), {"masks": MASKS[:0, None]}],
    ids=["list", "array", "tensor", "detections", "torchvision"],
)
def test_no_masks(masks):
    if isinstance(masks, SimpleNamespace):
        masks = type("Empty", (SimpleNamespace,), {"__len__": lambda self: 0})(**vars(masks))
    assert len(as_mask_proposals(masks, HW)) == 0


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (MASKS[:, :4], r"shape \(N, 6, 8\), the size of the image, got \(3, 4, 8\)"),
        (MASKS[:, None], r"got \(3, 1, 6, 8\)"),
        ([MASKS[0], MASKS[1, :4]], r"Mask 1 must have shape \(6, 8\)"),
        (MASKS.astype(np.uint8) * 255, "values from 0 to 255.*masks > 0"),
        (np.where(MASKS, 4.0, -4.0), "values from -4 to 4.*masks > 0 for logits"),
        (np.where(MASKS, np.nan, 0.0), "values from nan to nan"),
        (MASKS.astype(object), "got dtype object"),
        (MASKS.astype(np.complex64), "got dtype complex64"),
        (torch.from_numpy(MASKS).to(torch.complex64), "got dtype torch.complex64"),
        (torch.zeros(3, *HW, device="meta"), "must be a plain tensor"),
        ({"mask": MASKS}, "needs the key 'masks', got mask.$"),
        ({"segmentation": MASKS[0], "area": 3}, "got segmentation, area. Put a single mask's dict into a list"),
        ({"masks": MASKS, "scores": [0.5, 0.5]}, r"3 masks, but scores of shape \(2,\)"),
        ({"masks": MASKS, "scores": torch.ones(3, 1)}, r"3 masks, but scores of shape \(3, 1\)"),
        ({"masks": MASKS, "scores": [0.5, np.nan, 1.0]}, r"outside of \[0, 1\]"),
        ({"masks": MASKS, "scores": [50, 97, 100]}, r"outside of \[0, 1\]: 50 to 100"),
        ({"masks": MASKS, "scores": ["high", "low", "low"]}, "scores of the argument `masks` are no numbers"),
        (sam(MASKS, [0.5, None, 0.5]), "1 of 3 masks of the argument `masks` have no 'predicted_iou'"),
        ([{"segmentation": MASKS[0]}, MASKS[1]], "argument `masks` holds no list of masks; expected dicts"),
        ([{"segmentation": MASKS[0, :4]}], r"A mask must have shape \(6, 8\)"),
        ([{"segmentation": None}], "annotation of the argument `masks` has no mask"),
        (
            [{"segmentation": run_length(MASKS[0, :4])}],
            "A mask of the argument `masks` is 8x4 pixels, but the image is 8x6",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(ValueError, match=message):
        as_mask_proposals(masks, HW)


def test_detections_without_masks_are_refused():
    with pytest.raises(ValueError, match="boxes only"):
        as_mask_proposals(BoxesOnly(mask=None, confidence=None), HW)


@pytest.mark.parametrize("masks", ["masks.png", 5, None])
def test_other_types_are_refused(masks):
    with pytest.raises(TypeError, match="expected an array or tensor"):
        as_mask_proposals(masks, HW)
