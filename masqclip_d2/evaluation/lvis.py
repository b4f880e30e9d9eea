"""Instance AP by LVIS's rules (Gupta et al., "LVIS", CVPR 2019): federated annotation, 300 detections per image.

Each image is annotated for some categories only: those of its annotations and its `neg_category_ids`. Detections of
other categories are not counted. For its `not_exhaustive_category_ids` not every object is annotated: unmatched
detections are not counted there. The package `lvis` implements these rules and the matching. The loop over pairs of
image and category and the accumulation are here, since the package's `accumulate` uses `numpy.float`, which numpy 1.24
removed, and its `evaluate` visits all 24 million pairs, most of them empty.

Shape shorthand: T IoU thresholds, R recall thresholds, K categories, A area ranges, N detections.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .instance import InstanceEvaluator, InstanceTask, read_ground_truth

_FREQUENCIES = ("r", "c", "f")  # rare, common, frequent: in fewer than 10, 10 to 99, 100 and more training images
_FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


class LvisEvaluator(InstanceEvaluator):
    """Mask AP in percent on a dataset in LVIS's format; see `InstanceEvaluator`.

    Further metrics: APr, APc and APf, the AP of rare, common and frequent categories (`frequency` of the ground truth's
    categories), and AP50r, AP50c, AP50f. The metadata `detections_per_image` (LVIS: 300) limits the detections of all
    categories together; in COCO's evaluation it limits those of each category.

    Args:
        dataset_name: a registered dataset.
        output_dir: where `results_file` is written; None writes nothing.

    Raises:
        ImportError: the package `lvis` is missing.
        ValueError, FileNotFoundError: see `InstanceEvaluator`.
    """

    results_file = "lvis_instances_results.json"

    def __init__(self, dataset_name: str, output_dir: str | None = None) -> None:
        super().__init__(dataset_name, output_dir, tasks=("segm",))

    def _load_ground_truth(self, metadata: Any) -> Any:
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
            ground_truth = lvis.LVIS.__new__(lvis.LVIS)  # its constructor would read the file again, without our checks
            ground_truth.logger = logging.getLogger(lvis.__name__)
            ground_truth.dataset = content
            ground_truth._create_index()
            return ground_truth

    def _precision(self, results: list[dict], task: InstanceTask) -> tuple[np.ndarray, list[int]]:
        with _lvis_package() as lvis:
            found = _lvis_results(lvis, self._ground_truth, results, self._detections_per_image)
            evaluation = lvis.LVISEval(self._ground_truth, found, task)
            evaluation.params.area_rng = [list(limits) for limits in self._area_ranges.values()]
            return _accumulate(_match(evaluation), evaluation.params), evaluation.params.cat_ids

    def _category_subsets(self) -> dict[str, list[int]]:
        categories = self._ground_truth.cats.values()
        by_frequency = {f"AP{f}": [c["id"] for c in categories if c["frequency"] == f] for f in _FREQUENCIES}
        return {**by_frequency, **super()._category_subsets()}


@contextlib.contextmanager
def _lvis_package() -> Iterator[Any]:
    """The package `lvis` without its changes to logging: a handler of the root logger at import, progress messages.

    Raises:
        ImportError: the package is missing or cannot be imported.
    """
    root, own = logging.getLogger(), logging.getLogger("lvis")
    handlers, root_level, own_level = list(root.handlers), root.level, own.level
    try:
        import lvis
    except ImportError as error:
        raise ImportError(
            f"The evaluation of LVIS needs the package lvis ({error}): pip install --no-deps lvis (without --no-deps "
            "opencv-python would overwrite the installed opencv-python-headless)."
        ) from error
    finally:
        root.handlers[:] = handlers
        root.setLevel(root_level)
    own.setLevel(logging.ERROR)
    try:
        yield lvis
    finally:
        own.setLevel(own_level)


def _lvis_results(lvis: Any, ground_truth: Any, results: list[dict], detections_per_image: int) -> Any:
    """`lvis.LVISResults` of COCO results; areas are those of the masks."""
    # Copies, since the package adds keys; without boxes, since it would use their areas for the masks.
    results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    if results:
        return lvis.LVISResults(ground_truth, results, max_dets=detections_per_image)
    first_image = next(iter(ground_truth.imgs.values()))  # the package reads the first result
    hw = (first_image["height"], first_image["width"])
    unmatched = {"image_id": first_image["id"], "category_id": -1, "score": 0.0, "segmentation": _empty_mask(hw)}
    return lvis.LVISResults(ground_truth, [unmatched])


def _empty_mask(hw: tuple[int, int]) -> dict[str, Any]:
    from ..coco_masks import run_length

    return run_length(np.zeros(hw, dtype=bool))


def _match(evaluation: Any) -> Mapping[tuple[int, int], list[dict]]:
    """Matches by (index of category, index of area range), of images with objects or detections of the category."""
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


def _accumulate(matched: Mapping[tuple[int, int], list[dict]], params: Any) -> np.ndarray:
    """(T, R, K, A) interpolated precision in [0, 1], -1 where the ground truth has no object."""
    shape = (len(params.iou_thrs), len(params.rec_thrs), len(params.cat_ids), len(params.area_rng))
    precision = np.full(shape, -1.0)
    for (category, area), images in matched.items():
        num_objects = sum(int(np.count_nonzero(image["gt_ignore"] == 0)) for image in images)
        if num_objects == 0:
            continue
        scores = np.concatenate([image["dt_scores"] for image in images])
        order = np.argsort(-scores, kind="stable")  # equal scores: by image, then in the model's order
        hit = np.concatenate([image["dt_matches"] > 0 for image in images], axis=1)[:, order]  # (T, N)
        counted = ~np.concatenate([image["dt_ignore"] for image in images], axis=1)[:, order].astype(bool)
        precision[:, :, category, area] = _interpolated(hit & counted, ~hit & counted, num_objects, params.rec_thrs)
    return precision


def _interpolated(true: np.ndarray, false: np.ndarray, num_objects: int, recalls: np.ndarray) -> np.ndarray:
    """(T, R) largest precision at or above each recall, 0 above the last, from (T, N) ranked true / false positives."""
    num_true, num_false = true.cumsum(1, dtype=np.float64), false.cumsum(1, dtype=np.float64)
    precision = num_true / np.maximum(num_true + num_false, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(envelope, ((0, 0), (0, 1)))  # (T, N + 1): precision 0 beyond the last detection
    reached = [np.searchsorted(row, recalls, side="left") for row in num_true / num_objects]
    return np.take_along_axis(padded, np.stack(reached), axis=1)
