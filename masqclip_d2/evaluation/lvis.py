"""Instance AP by LVIS's rules (Gupta et al., "LVIS", CVPR 2019): federated annotation, 300 detections per image.

In each image only some categories were looked for: those annotated in it and its `neg_category_ids`. Detections of
others are neither right nor wrong. Of its `not_exhaustive_category_ids` not every object is annotated: detections that
match nothing are not counted there. The `lvis` package knows these rules and matches; visiting the pairs of image and
category, and accumulating, are ours, since its `accumulate` uses `numpy.float`, which numpy 1.24 removed, and its
`evaluate` visits all 24 million pairs, where the few that hold something are enough.

Shape shorthand: T IoU thresholds, R recall thresholds, K categories, A area ranges, N detections.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .instance import InstanceEvaluator, read_ground_truth

_FREQUENCIES = ("r", "c", "f")  # rare, common, frequent: in fewer than 10, 10 to 99, 100 and more training images
_FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


class LvisEvaluator(InstanceEvaluator):
    """Mask AP in percent on a dataset in LVIS's format; see `InstanceEvaluator`.

    Beside its rows there are APr, APc and APf: AP of the rare, common and frequent categories (`frequency` of the
    ground truth's categories), and AP50r, AP50c, AP50f. The metadata `detections_per_image` (LVIS: 300) is of all
    categories together; in COCO's evaluation it is of each one.

    Args:
        dataset_name: a registered dataset.
        output_dir: where `results_file` goes; None writes nothing.

    Raises:
        ImportError: the package `lvis` is missing.
        ValueError, FileNotFoundError: see `InstanceEvaluator`.
    """

    results_file = "lvis_instances_results.json"

    def __init__(self, dataset_name: str, output_dir: str | None = None) -> None:
        super().__init__(dataset_name, output_dir, tasks=("segm",))

    def _load_ground_truth(self, metadata: Any):
        content = read_ground_truth(metadata)
        path = metadata.json_file
        for image in content["images"]:
            for key in _FEDERATED:
                if key not in image:
                    raise ValueError(f"{path}, image {image['id']} has no {key!r}, which LVIS's rules need.")
        for category in content["categories"]:
            if category.get("frequency") not in _FREQUENCIES:
                raise ValueError(
                    f"{path}, category {category['id']} has the frequency {category.get('frequency')!r}; expected one "
                    f"of {', '.join(_FREQUENCIES)}."
                )
        with _lvis_package() as lvis:
            return lvis.LVIS(path)

    def _precision(self, results: list[dict], task: str) -> tuple[np.ndarray, list[int]]:
        with _lvis_package() as lvis:
            found = _results_of(lvis, self._ground_truth, results, self._detections_per_image)
            evaluation = lvis.LVISEval(self._ground_truth, found, task)
            evaluation.params.area_rng = [list(limits) for limits in self._area_ranges.values()]
            return _accumulated(_matched(evaluation), evaluation.params), evaluation.params.cat_ids

    def _category_rows(self) -> dict[str, list[int]]:
        categories = self._ground_truth.cats.values()
        by_frequency = {f"AP{f}": [c["id"] for c in categories if c["frequency"] == f] for f in _FREQUENCIES}
        return {**by_frequency, **super()._category_rows()}


@contextlib.contextmanager
def _lvis_package() -> Iterator[Any]:
    """The package `lvis`, without what it does to logging: a handler for everybody at import, and notes on its work.

    Raises:
        ImportError: it is missing, or cannot be imported.
    """
    root, own = logging.getLogger(), logging.getLogger("lvis")
    handlers, root_level, own_level = list(root.handlers), root.level, own.level
    try:
        import lvis
    except ImportError as error:
        raise ImportError(
            f"The evaluation of LVIS needs the package lvis ({error}): pip install --no-deps lvis (without --no-deps "
            "it would put opencv-python over the opencv-python-headless that is here)."
        ) from error
    finally:
        root.handlers[:] = handlers
        root.setLevel(root_level)
    own.setLevel(logging.ERROR)
    try:
        yield lvis
    finally:
        own.setLevel(own_level)


def _results_of(lvis: Any, ground_truth: Any, results: list[dict], detections_per_image: int):
    """`lvis.LVISResults` of COCO results, whose areas are those of the masks."""
    # With a box, its area would be taken for that of the mask; and the package adds keys to what it is given.
    results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    if results:
        return lvis.LVISResults(ground_truth, results, max_dets=detections_per_image)
    first_image = next(iter(ground_truth.imgs.values()))  # the package looks at the first of the results
    hw = (first_image["height"], first_image["width"])
    nothing = {"image_id": first_image["id"], "category_id": -1, "score": 0.0, "segmentation": _empty_mask(hw)}
    return lvis.LVISResults(ground_truth, [nothing])


def _empty_mask(hw: tuple[int, int]) -> dict[str, Any]:
    from ..coco_masks import run_length

    return run_length(np.zeros(hw, dtype=bool))


def _matched(evaluation: Any) -> Mapping[tuple[int, int], list[dict]]:
    """Matches by position of category and area range, of the images, by id, that have anything of the category."""
    params = evaluation.params
    evaluation._prepare()
    pairs = sorted({key for table in (evaluation._gts, evaluation._dts) for key, rows in table.items() if rows})
    position = {category: index for index, category in enumerate(params.cat_ids)}
    matched = defaultdict(list)
    for image, category in pairs:
        evaluation.ious[image, category] = evaluation.compute_iou(image, category)
        for area, limits in enumerate(params.area_rng):
            matched[position[category], area].append(evaluation.evaluate_img(image, category, limits))
        del evaluation.ious[image, category]
    return matched


def _accumulated(matched: Mapping[tuple[int, int], list[dict]], params: Any) -> np.ndarray:
    """(T, R, K, A) interpolated precision in [0, 1], -1 where the ground truth has nothing to find."""
    shape = (len(params.iou_thrs), len(params.rec_thrs), len(params.cat_ids), len(params.area_rng))
    precision = np.full(shape, -1.0)
    for (category, area), images in matched.items():
        num_objects = sum(int(np.count_nonzero(image["gt_ignore"] == 0)) for image in images)
        if num_objects == 0:
            continue
        scores = np.concatenate([image["dt_scores"] for image in images])
        order = np.argsort(-scores, kind="stable")  # equal scores: by image, then as the model ranked them
        hit = np.concatenate([image["dt_matches"] > 0 for image in images], axis=1)[:, order]  # (T, N)
        counted = ~np.concatenate([image["dt_ignore"] for image in images], axis=1)[:, order].astype(bool)
        precision[:, :, category, area] = _interpolated(hit & counted, ~hit & counted, num_objects, params.rec_thrs)
    return precision


def _interpolated(true: np.ndarray, false: np.ndarray, num_objects: int, recalls: np.ndarray) -> np.ndarray:
    """(T, R) largest precision at or beyond each recall, 0 beyond the last, of (T, N) ranked right and wrong ones."""
    num_true, num_false = true.cumsum(1, dtype=np.float64), false.cumsum(1, dtype=np.float64)
    precision = num_true / np.maximum(num_true + num_false, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(envelope, ((0, 0), (0, 1)))  # (T, N + 1): beyond the last detection there is none
    reached = [np.searchsorted(row, recalls, side="left") for row in num_true / num_objects]
    return np.take_along_axis(padded, np.stack(reached), axis=1)
