"""LVIS's rules on images of a few pixels, against metrics computed by hand and the package's own loop."""

import json
import logging
import math
import sys

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances

from masqclip_d2.evaluation import LvisEvaluator
from masqclip_d2.fusion import boxes_from_masks

HW = (8, 10)
CATEGORIES = [(1, "cat", "f"), (4, "dog", "c"), (9, "elk", "r")]  # dataset ids with gaps; contiguous are positions
CAT, DOG, ELK = range(3)


def square(left, top=0, side=2):
    mask = np.zeros(HW, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


class TinyLvis:
    """`objects`: image id -> list of (contiguous category, mask); `found`: the same with a score in front."""

    def __init__(self, name, folder):
        self.name = name
        self.path = folder / "lvis.json"
        self.metadata = MetadataCatalog.get(name)
        self.metadata.set(
            thing_classes=[row[1] for row in CATEGORIES],
            stuff_classes=[row[1] for row in CATEGORIES],
            thing_dataset_id_to_contiguous_id={row[0]: i for i, row in enumerate(CATEGORIES)},
            json_file=str(self.path),
            evaluator_type="lvis",
            detections_per_image=300,
            vocabulary={
                "names": [name for _, name, _ in CATEGORIES],
                "is_thing": [True] * len(CATEGORIES),
                "groups": {"base": [CAT, DOG], "novel": [ELK]},
            },
        )

    def write(self, objects, negative=None, not_exhaustive=None):
        from masqclip_d2.coco_masks import bbox_xywh, run_length

        def dataset_ids(table, image):
            return [CATEGORIES[i][0] for i in (table or {}).get(image, [])]

        images = [
            {
                "id": image, "height": HW[0], "width": HW[1], "coco_url": f"x/val2017/{image}.jpg",
                "neg_category_ids": dataset_ids(negative, image),
                "not_exhaustive_category_ids": dataset_ids(not_exhaustive, image),
            }
            for image in objects
        ]  # fmt: skip
        annotations = [
            {
                "image_id": image, "category_id": CATEGORIES[category][0], "area": int(mask.sum()),
                "bbox": bbox_xywh(mask), "segmentation": run_length(mask),
            }
            for image, rows in objects.items()
            for category, mask in rows
        ]  # fmt: skip
        annotations = [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)]
        categories = [{"id": i, "name": name, "frequency": frequency} for i, name, frequency in CATEGORIES]
        self.path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))

    def metrics(self, found, evaluator=None):
        evaluator = evaluator or LvisEvaluator(self.name)
        for image, rows in found.items():
            evaluator.process([{"image_id": image}], [{"instances": instances(rows)}])
        return evaluator.evaluate()["segm"]


def instances(rows):
    masks = torch.from_numpy(np.array([mask for _, _, mask in rows], dtype=bool).reshape(-1, *HW))
    found = Instances(HW, pred_masks=masks, pred_boxes=Boxes(boxes_from_masks(masks)))
    found.scores = torch.tensor([score for score, _, _ in rows])
    found.pred_classes = torch.tensor([category for _, category, _ in rows], dtype=torch.int64)
    return found


@pytest.fixture
def tiny_lvis(tmp_path, request):
    pytest.importorskip("lvis", reason="pip install --no-deps lvis")
    name = f"tiny_lvis_{request.node.name}"
    yield TinyLvis(name, tmp_path)
    MetadataCatalog.remove(name)


def test_perfect_predictions_score_100_by_frequency_and_group(tiny_lvis):
    objects = {3: [(CAT, square(0)), (DOG, square(4))], 5: [(CAT, square(6))]}
    tiny_lvis.write(objects)
    metrics = tiny_lvis.metrics({i: [(0.9, *row) for row in rows] for i, rows in objects.items()})
    right = {"AP", "AP50", "AP75", "APs", "APc", "APf", "AP50c", "AP50f", "AP_base", "AP50_base", "AP-cat", "AP-dog"}
    assert {key for key, value in metrics.items() if value == pytest.approx(100)} == right
    undefined = {"APm", "APl", "APr", "AP50r", "AP_novel", "AP50_novel", "AP-elk"}  # no such object
    assert {key for key, value in metrics.items() if math.isnan(value)} == undefined


def test_precision_is_interpolated_at_101_recalls(tiny_lvis):
    tiny_lvis.write({3: [(CAT, square(0)), (CAT, square(4))]})
    metrics = tiny_lvis.metrics({3: [(0.9, CAT, square(0)), (0.8, CAT, square(7)), (0.7, CAT, square(4))]})
    # right, wrong, right: precision 1 up to recall 0.5 (51 of 101 recalls), 2/3 beyond
    assert metrics["AP"] == metrics["APf"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize(
    "negative, not_exhaustive, expected",
    [
        ({}, {}, 100),  # image 3 is not annotated for dogs
        ({3: [DOG]}, {}, 50),  # there is none in image 3, so that the best detection is wrong
        ({3: [DOG]}, {3: [DOG]}, 100),  # not every dog of image 3 was marked
    ],
    ids=["not annotated", "annotated as absent", "not exhaustive"],
)
def test_detections_count_in_images_annotated_for_their_category(tiny_lvis, negative, not_exhaustive, expected):
    tiny_lvis.write({3: [(CAT, square(0))], 5: [(DOG, square(2))]}, negative, not_exhaustive)
    found = {3: [(0.9, CAT, square(0)), (0.9, DOG, square(6))], 5: [(0.5, DOG, square(2))]}
    metrics = tiny_lvis.metrics(found)
    assert metrics["AP-dog"] == metrics["APc"] == pytest.approx(expected)
    assert metrics["AP-cat"] == pytest.approx(100)


def test_a_surplus_detection_is_ignored_only_if_annotation_is_not_exhaustive(tiny_lvis):
    rows = {3: [(0.9, CAT, square(6)), (0.8, CAT, square(0))]}
    tiny_lvis.write({3: [(CAT, square(0))]})
    assert tiny_lvis.metrics(rows)["AP"] == pytest.approx(50)
    tiny_lvis.write({3: [(CAT, square(0))]}, not_exhaustive={3: [CAT]})
    assert tiny_lvis.metrics(rows)["AP"] == pytest.approx(100)


@pytest.mark.parametrize("limit, dogs", [(1, 0), (2, 100)])
def test_the_limit_is_of_all_categories_together(tiny_lvis, limit, dogs):
    del tiny_lvis.metadata.detections_per_image
    tiny_lvis.metadata.detections_per_image = limit
    tiny_lvis.write({3: [(CAT, square(0)), (DOG, square(4))]})
    metrics = tiny_lvis.metrics({3: [(0.5, DOG, square(4)), (0.9, CAT, square(0))]})
    assert metrics["AP-cat"] == pytest.approx(100) and metrics["AP-dog"] == pytest.approx(dogs)


def test_sizes_come_from_the_metadata(tiny_lvis):
    tiny_lvis.metadata.area_limits = (4, 9)
    objects = [(CAT, square(0, side=2)), (CAT, square(3, side=4))]  # 4 and 16 pixels
    tiny_lvis.write({3: objects})
    metrics = tiny_lvis.metrics({3: [(0.9, *objects[0])]})
    assert metrics["APs"] == pytest.approx(100) and metrics["APl"] == 0


def noisy(seed):
    """Objects and detections of six images: right ones, moved ones, wrong categories, ties of scores."""
    random = np.random.default_rng(seed)
    objects, found = {}, {}
    for image in range(1, 7):
        truth = [(int(random.integers(3)), square(int(x), int(random.integers(5)), 3)) for x in (0, 3, 6)]
        objects[image] = truth
        found[image] = [
            (round(float(random.random()), 1), category if random.random() > 0.3 else int(random.integers(3)), moved)
            for category, mask in truth
            for moved in (mask, np.roll(mask, 1, axis=0), np.roll(mask, int(random.integers(3)), axis=1))
        ]
    table = {image: [int(random.integers(3))] for image in objects}
    return objects, found, table


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_packages_own_loop(tiny_lvis, seed, monkeypatch):
    import lvis

    objects, found, table = noisy(seed)
    tiny_lvis.write(objects, negative=table, not_exhaustive={image: table[image] for image in (2, 4)})
    evaluator = LvisEvaluator(tiny_lvis.name, str(tiny_lvis.path.parent))
    metrics = tiny_lvis.metrics(found, evaluator)
    results = json.loads((tiny_lvis.path.parent / "lvis_instances_results.json").read_text())
    results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]

    monkeypatch.setattr(np, "float", float, raising=False)  # what its `accumulate` asks of numpy
    truth = lvis.LVIS(str(tiny_lvis.path))
    package = lvis.LVISEval(truth, lvis.LVISResults(truth, results), "segm")
    package.run()
    expected = {key: 100 * value if value > -1 else math.nan for key, value in package.get_results().items()}
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")
    assert 0 < expected["AP"] < 100
    assert {name: metrics[name] for name in names} == pytest.approx({n: expected[n] for n in names}, nan_ok=True)


def test_no_detections_score_zero_and_no_predictions_are_refused(tiny_lvis):
    tiny_lvis.write({3: [(CAT, square(0))]})
    assert tiny_lvis.metrics({3: []})["AP"] == 0
    with pytest.raises(ValueError, match="there are no predictions to evaluate"):
        LvisEvaluator(tiny_lvis.name).evaluate()


def test_two_processes_are_one(tiny_lvis, two_processes):
    objects, found, table = noisy(0)
    tiny_lvis.write(objects, negative=table)
    whole = tiny_lvis.metrics(found)
    evaluators = [LvisEvaluator(tiny_lvis.name) for _ in range(2)]
    for image, rows in found.items():
        evaluators[image % 2].process([{"image_id": image}], [{"instances": instances(rows)}])
    assert two_processes(*evaluators)["segm"] == pytest.approx(whole, nan_ok=True)


def test_logging_is_unchanged(tiny_lvis):
    for name in [name for name in sys.modules if name.split(".")[0] == "lvis"]:
        del sys.modules[name]  # its import is what adds a handler for everybody
    root = logging.getLogger()
    before = list(root.handlers), root.level
    tiny_lvis.write({3: [(CAT, square(0))]})
    tiny_lvis.metrics({3: [(0.9, CAT, square(0))]})
    assert (list(root.handlers), root.level) == before and logging.getLogger("lvis").level == logging.NOTSET


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c["images"][0].pop("neg_category_ids"), "image 3 has no 'neg_category_ids'"),
        (lambda c: c["categories"][2].update(frequency="often"), "category 9 has the frequency 'often'"),
        (lambda c: c["annotations"][0].update(category_id=2), "annotation 1 has category id 2, which is not among the"),
        (lambda c: c["annotations"][0].update(image_id=77), "annotations of image 77, which is not among its 1 images"),
    ],
    ids=["plain COCO", "frequency", "category not in the table", "annotation without image"],
)
def test_wrong_ground_truth_is_one_line(tiny_lvis, change, message):
    tiny_lvis.write({3: [(CAT, square(0))]})
    content = json.loads(tiny_lvis.path.read_text())
    change(content)
    tiny_lvis.path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        LvisEvaluator(tiny_lvis.name)
    assert "\n" not in str(caught.value)


def test_the_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lvis", None)
    tiny = TinyLvis("tiny_lvis_missing", tmp_path)
    tiny.write({3: [(CAT, square(0))]})
    with pytest.raises(ImportError, match=r"needs the package lvis .*pip install --no-deps lvis"):
        LvisEvaluator(tiny.name)
    MetadataCatalog.remove(tiny.name)
