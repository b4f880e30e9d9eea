"""Values of a configuration that no model or training can work with, found before anything is built."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

_MAY_BE_INFINITE = {"SOLVER.CLIP_GRADIENTS.NORM_TYPE"}
_MAY_BE_MISSING = {"SOLVER.WEIGHT_DECAY_BIAS"}  # None: SOLVER.WEIGHT_DECAY
_LARGEST = 2**62  # integers of 64 bits, with some room
_ABOVE_0 = {"MODEL.PIXEL_STD"}
_AT_LEAST_1 = {
    "INPUT.IMAGE_SIZE",
    "MODEL.MASK_FORMER.DEC_LAYERS", "MODEL.MASK_FORMER.DIM_FEEDFORWARD", "MODEL.MASK_FORMER.HIDDEN_DIM",
    "MODEL.MASK_FORMER.NHEADS", "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "MODEL.MASK_FORMER.OVERSAMPLE_RATIO",
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "MODEL.MASQCLIP.CLIP.TILES", "MODEL.MASQCLIP.DISTILLATION.NUM_POINTS",
    "MODEL.MASQCLIP.PROPOSER.ENCODER_FFN_DIM", "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.CHANNELS",
    "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.ROIS_PER_IMAGE", "MODEL.MASQCLIP.TEST.BASELINE_BATCH_SIZE",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", "MODEL.SEM_SEG_HEAD.MASK_DIM", "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS",
    "MODEL.SHAPES.BACKBONE_WIDTHS", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.IMS_PER_BATCH", "SOLVER.MAX_ITER",
    "TEST.DETECTIONS_PER_IMAGE",
}  # fmt: skip
_AT_LEAST_0 = {
    "DATALOADER.NUM_WORKERS", "INPUT.MAX_MEGAPIXELS",
    "INPUT.MAX_SCALE", "INPUT.MAX_SIZE_TEST", "INPUT.MAX_SIZE_TRAIN", "INPUT.MIN_SCALE",
    "INPUT.MIN_SIZE_TEST", "INPUT.MIN_SIZE_TRAIN", "MODEL.MASK_FORMER.CLASS_WEIGHT", "MODEL.MASK_FORMER.DICE_WEIGHT",
    "MODEL.MASK_FORMER.MASK_WEIGHT", "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT", "MODEL.MASQCLIP.DISTILLATION.ROUNDS",
    "MODEL.MASQCLIP.MASQ_TUNING.LOSS_WEIGHT", "MODEL.MASQCLIP.MASQ_TUNING.NO_OBJECT_WEIGHT",
    "MODEL.MASQCLIP.RMA.NO_OBJECT_WEIGHT", "SOLVER.BACKBONE_MULTIPLIER", "SOLVER.BASE_LR", "SOLVER.BASE_LR_END",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "SOLVER.GAMMA", "SOLVER.STEPS", "SOLVER.WARMUP_FACTOR", "SOLVER.WARMUP_ITERS",
    "SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_EMBED", "SOLVER.WEIGHT_DECAY_NORM", "TEST.EVAL_PERIOD",
}  # fmt: skip
_SHARES = {
    "MODEL.MASK_FORMER.DROPOUT", "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO",
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD",
    "MODEL.MASQCLIP.DISTILLATION.BASE_OVERLAP_LIMIT", "MODEL.MASQCLIP.DISTILLATION.PSEUDO_OVERLAP_LIMIT",
    "MODEL.MASQCLIP.DISTILLATION.SCORE_THRESHOLD", "MODEL.MASQCLIP.MASQ_TUNING.DICE_THRESHOLD",
    "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.SCORE_THRESHOLD", "MODEL.MASQCLIP.TEST.DUPLICATE_IOU",
    "MODEL.MASQCLIP.TEST.UNKNOWN_THRESHOLD", "MODEL.SHAPES.AVERAGE_DECAY", "MODEL.SHAPES.PATCH_DROPOUT",
    "SOLVER.MOMENTUM",
}  # fmt: skip


def check_values(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse values that are missing, not finite, of another kind than the default's entries, or out of range.

    Args:
        values: key with its sections ("SOLVER.BASE_LR") -> value, of all keys.
        defaults: the same with the default values.

    Raises:
        ValueError: the message names the key, its value and what is expected.
    """
    for key, value in values.items():
        default = defaults.get(key)
        if value is None and default is not None and key not in _MAY_BE_MISSING:
            none = " For none, write ''." if isinstance(default, str) else ""
            raise ValueError(f"Config key {key} has no value; its default is {default!r}.{none}")
        if value == default:
            continue
        numbers = list(_numbers(value))
        if isinstance(value, (list, tuple)) and isinstance(default, (list, tuple)):
            expects_numbers = bool(default) and len(list(_numbers(default))) == len(default)
            if expects_numbers and len(numbers) != len(value):
                raise ValueError(f"Config key {key} is {value!s:.100}; expected numbers, such as {default}.")
        for number in numbers:
            problem = _problem(key, number)
            if problem:
                raise ValueError(f"Config key {key} is {value!s:.100}; expected {problem}.")


def _numbers(value: Any) -> Iterator[int | float]:
    """The number, or those of a list."""
    for each in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(each, (int, float)) and not isinstance(each, bool):
            yield each


def _problem(key: str, number: int | float) -> str:
    """What is expected instead of `number`; "" if it can be used."""
    if not math.isfinite(number) if isinstance(number, float) else abs(number) > _LARGEST:
        return "" if key in _MAY_BE_INFINITE else "finite numbers of at most 64 bits"
    if key in _ABOVE_0 and number <= 0:
        return "numbers above 0"
    if key in _AT_LEAST_1 and number < 1:
        return "at least 1"
    if key in _AT_LEAST_0 and number < 0:
        return "at least 0"
    if key in _SHARES and not 0 <= number <= 1:
        return "a number in [0, 1]"
    return ""
