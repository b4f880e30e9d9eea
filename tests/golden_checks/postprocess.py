"""Fusion against golden sets `postprocess_maskclip_*` and `postprocess_masqclip_*`: from network outputs to results.

Of MaskCLIP only the variant `with_extra` is compared. The variant `without_extra` holds a published off-by-one: given K
columns and no extra class, the official functions still drop the last column, so that the last category cannot come out
and instance labels are looked up in a table of the wrong width. We drop nothing there, on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from detectron2.structures import ImageList

from masqclip_d2.clip import ClipPreprocessing
from masqclip_d2.fusion import (
    ClassScores,
    class_log_probs,
    crop_and_resize,
    instance_inference,
    masks_to_output,
    panoptic_inference,
    resize_maps,
    semantic_inference,
)

from . import GoldenRow, differing_fraction, max_abs_error

WHAT = ("MaskCLIP inference around fixed network outputs", "MasQCLIP inference around fixed network outputs")

SCORE_TOLERANCE = 1e-5  # scores and maps, values up to 2.2
PIXEL_TOLERANCE = 1e-3  # share of differing pixels of label maps and binary masks
NORMALISED_IMAGE_TOLERANCE = 1e-5


def check(arrays: dict[str, np.ndarray], meta: dict) -> Iterator[GoldenRow]:
    """Compare every output of the three cases (all tasks, instances only, semantic only) for every image."""
    is_maskclip = meta["what"].startswith("MaskCLIP")
    padded_hw = yield from _check_inputs(arrays, meta)
    class_logits = torch.from_numpy(arrays["clip_class_logits"])
    if is_maskclip:
        prefix, mask_logits = "with_extra/", torch.from_numpy(arrays["refined_mask_logits"])
        log_probs, num_rejecting = class_log_probs(class_logits), 1  # the extra class rejects proposals
        encoder_hw = (meta["clip_resolution"], meta["clip_resolution"])
        masks = torch.stack([resize_maps(m, encoder_hw) for m in torch.from_numpy(arrays["proposal_mask_logits"])])
        yield GoldenRow("dbg/masks_into_encoder", max_abs_error(masks, arrays["dbg/masks_into_encoder"]), 1e-5)
    else:
        prefix, mask_logits = "", torch.from_numpy(arrays["proposal_mask_logits"])
        object_scores = torch.from_numpy(arrays["proposal_object_logits"]).softmax(-1)[..., 0]
        log_probs, num_rejecting = class_log_probs(class_logits, object_scores), 0  # the extra class is ignored
        error = max_abs_error(log_probs[..., : meta["classes"]], arrays["dbg/class_log_scores"])
        yield GoldenRow("dbg/class_log_scores", error, 1e-5)

    is_thing = [k in meta["thing_contiguous_ids"] for k in range(meta["classes"])]
    for image, (image_hw, output_hw) in enumerate(zip(meta["image_sizes"], meta["output_sizes"], strict=True)):
        scores = ClassScores.from_log_probs(log_probs[image], meta["classes"], num_rejecting)
        probs = scores.probs
        masks = masks_to_output(mask_logits[image], padded_hw, image_hw, output_hw)

        case = f"{prefix}all/out/"
        yield from _semantic_row(arrays, f"{case}sem_seg_{image}", semantic_inference(probs, masks))
        thresholds = meta["object_mask_threshold"], meta["overlap_threshold"]
        panoptic = panoptic_inference(scores, masks, is_thing, *thresholds)
        yield from _panoptic_rows(arrays, case, image, *panoptic)
        yield from _instance_rows(
            arrays, case, image, instance_inference(probs, masks, is_thing, meta["topk_per_image"])
        )

        case = f"{prefix}instance_only/out/"
        yield from _instance_rows(arrays, case, image, instance_inference(probs, masks, None, meta["topk_per_image"]))

        semantic = semantic_inference(probs, resize_maps(mask_logits[image], padded_hw))
        name = f"{prefix}semantic_only/out/sem_seg_{image}"
        yield from _semantic_row(arrays, name, crop_and_resize(semantic, image_hw, output_hw))


def _check_inputs(arrays, meta):
    """Compare the padded inputs as a meta-architecture makes them; returns (height, width) after padding."""
    mean, std = (torch.tensor(meta[key])[:, None, None] for key in ("pixel_mean", "pixel_std"))
    images = [torch.from_numpy(arrays[f"image_{b}"]) for b in range(len(meta["image_sizes"]))]
    batch = ImageList.from_tensors([(image - mean) / std for image in images], meta["size_divisibility"]).tensor
    error = max_abs_error(batch, arrays["dbg/backbone_input"])
    yield GoldenRow("dbg/backbone_input", error, NORMALISED_IMAGE_TOLERANCE)
    if "dbg/clip_branch_image" in arrays:
        raw = ImageList.from_tensors(images, meta["size_divisibility"], pad_value=0).tensor
        yield GoldenRow("dbg/clip_branch_image", max_abs_error(raw, arrays["dbg/clip_branch_image"]), 0)
    # MaskCLIP sees the normalized batch turned back to 0..255, so that its padding has the mean color.
    for name, antialias in (("clip_image_no_antialias", False), ("clip_image_antialias", True)):
        if f"dbg/{name}" in arrays:
            to_clip = ClipPreprocessing(antialias=antialias)
            seen = torch.stack([to_clip.image(image * std + mean, meta["clip_resolution"]) for image in batch])
            error = max_abs_error(seen, arrays[f"dbg/{name}"])
            yield GoldenRow(f"dbg/{name}", error, NORMALISED_IMAGE_TOLERANCE)
    return tuple(batch.shape[-2:])


def _semantic_row(arrays, name, semantic):
    yield GoldenRow(name, max_abs_error(semantic, arrays[name]), SCORE_TOLERANCE)


def _panoptic_rows(arrays, case, image, segment_ids, segments):
    name = f"{case}panoptic_seg_{image}"
    yield GoldenRow(name, differing_fraction(segment_ids, arrays[name]), PIXEL_TOLERANCE)
    name = f"{case}panoptic_info_{image}"
    rows = [(segment["id"], segment["isthing"], segment["category_id"]) for segment in segments]
    yield GoldenRow(name, max_abs_error(np.array(rows, dtype=np.int64).reshape(-1, 3), arrays[name]), 0)


def _instance_rows(arrays, case, image, instances):
    name = f"{case}instances_scores_{image}"
    yield GoldenRow(name, max_abs_error(instances.scores, arrays[name]), SCORE_TOLERANCE)
    name = f"{case}instances_classes_{image}"
    yield GoldenRow(name, max_abs_error(instances.classes, arrays[name]), 0)
    name = f"{case}instances_masks_{image}"
    yield GoldenRow(name, differing_fraction(instances.masks.to(torch.uint8), arrays[name]), PIXEL_TOLERANCE)
