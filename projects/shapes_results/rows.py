"""The rows of both papers' tables on Shapes, and the orderings that the papers report between them.

Data only: `python -m projects.shapes_results` runs the rows and judges the orderings. docs/paper_rows.md maps published
rows to configurations.
"""

from __future__ import annotations

from dataclasses import dataclass

_ROUNDS = "MODEL.MASQCLIP.DISTILLATION.ROUNDS"


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        key: its name on the command line and in files; also the folder of its own stage.
        title: as in the papers.
        config: shipped configuration.
        stages: configurations of the stages before it, in order; it starts from the weights of the last one.
        opts: KEY VALUE pairs for its configuration.
        train: False: it is evaluated with these weights, without training.
    """

    key: str
    title: str
    config: str
    stages: tuple[str, ...]
    opts: tuple[str, ...] = ()
    train: bool = True


_TEACHER = ("teacher.yaml",)
_STUDENT = ("teacher.yaml", "student.yaml")
_MASK_RCNN = ("teacher_mask_rcnn.yaml",)
TEACHERS = (*_TEACHER, *_MASK_RCNN)
"""Stages that are trained once, for all seeds."""

ROWS = (
    Row("clip_baseline", "CLIP Baseline", "shapes/clip_baseline", _TEACHER, train=False),
    Row("maskclip_worma", "MaskCLIP w/o RMA", "shapes/maskclip_worma", _TEACHER, train=False),
    Row("maskclip_no_refinement", "MaskCLIP w/o mask refinement", "shapes/maskclip_no_refinement", _TEACHER),
    Row("maskclip", "MaskCLIP", "shapes/maskclip", _TEACHER),
    Row(
        "maskclip_worma_mask_rcnn",
        "MaskCLIP w/o RMA (Mask R-CNN)",
        "shapes/maskclip_worma_mask_rcnn",
        _MASK_RCNN,
        train=False,
    ),
    Row(
        "maskclip_mask_rcnn",
        "MaskCLIP (Mask R-CNN)",
        "shapes/maskclip",
        _MASK_RCNN,
        ("MODEL.MASQCLIP.PROPOSER.SOURCE", "mask_rcnn"),
    ),
    Row("clip_baseline_gt", "CLIP Baseline + ground-truth masks", "shapes/clip_baseline_gt", (), train=False),
    Row("maskclip_worma_gt", "MaskCLIP w/o RMA + ground-truth masks", "shapes/maskclip_worma_gt", (), train=False),
    Row(
        "maskclip_gt",
        "MaskCLIP + ground-truth masks",
        "shapes/maskclip_gt",
        (*_TEACHER, "maskclip.yaml"),
        train=False,
    ),
    Row("maskclip_layers_1_4_7_10", "MaskCLIP, RMA in layers 1, 4, 7, 10", "shapes/maskclip_layers_1_4_7_10", _TEACHER),
    Row("maskclip_layers_2_5_8_11", "MaskCLIP, RMA in layers 2, 5, 8, 11", "shapes/maskclip_layers_2_5_8_11", _TEACHER),
    Row("maskclip_layers_11_12", "MaskCLIP, RMA in layers 11, 12", "shapes/maskclip_layers_11_12", _TEACHER),
    Row("masqclip_rounds_0", "MasQCLIP, without distillation", "shapes/masqclip", _TEACHER),
    Row("masqclip_rounds_1", "MasQCLIP, 1 round of distillation", "shapes/masqclip", _STUDENT, (_ROUNDS, "1")),
    Row("masqclip", "MasQCLIP (2 rounds)", "shapes/masqclip", _STUDENT),  # the default
    Row("masqclip_rounds_3", "MasQCLIP, 3 rounds of distillation", "shapes/masqclip", _STUDENT, (_ROUNDS, "3")),
    Row(
        "masqclip_no_object_score",
        "MasQCLIP without object score",
        "shapes/masqclip_no_object_score",
        (*_STUDENT, "masqclip.yaml"),
        train=False,
    ),
    Row("masqclip_no_tuning", "MasQCLIP without MasQ-Tuning", "shapes/masqclip_no_tuning", _STUDENT, train=False),
    Row("masqclip_key", "MasQCLIP, keys tuned instead of queries", "shapes/masqclip_key", _STUDENT),
    Row("masqclip_value", "MasQCLIP, values tuned instead of queries", "shapes/masqclip_value", _STUDENT),
    Row(
        "masqclip_untuned_scores",
        "MasQCLIP, tuned and untuned scores mixed",
        "shapes/masqclip_untuned_scores",
        (*_STUDENT, "masqclip.yaml"),
        train=False,
    ),
    Row("masqclip_gt_masks", "MasQCLIP, tuned on ground-truth masks", "shapes/masqclip_gt_masks", _STUDENT),
    Row("value_pooling", "Values of the last block pooled by masks", "shapes/value_pooling", _TEACHER, train=False),
    Row("maskclip_worma_tiles", "MaskCLIP w/o RMA, in tiles", "shapes/maskclip_worma_tiles", _TEACHER, train=False),
)

SHORT_ROWS = (
    "clip_baseline", "maskclip_worma", "maskclip_no_refinement", "maskclip", "maskclip_gt", "masqclip_rounds_0",
    "masqclip", "masqclip_no_object_score", "masqclip_no_tuning", "masqclip_value",
)  # fmt: skip
SHORT_METRICS = ("PQ_things", "PQ_stuff", "PQ_base", "PQ_novel", "PQ_all", "mIoU_all", "AP50_novel")
"""Rows and metrics of the short table."""


@dataclass(frozen=True)
class Comparison:
    """A published ">": row `better` has a larger `metric` ("PQ_all", "AP50_novel", ...) than row `worse`."""

    better: str
    worse: str
    metric: str


@dataclass(frozen=True)
class Ordering:
    """A claim of the papers, where it is published, and the comparisons that must all hold for it to hold here."""

    claim: str
    source: str
    comparisons: tuple[Comparison, ...]


def _all(better: str, worse: str | tuple[str, ...], *metrics: str) -> tuple[Comparison, ...]:
    worse = (worse,) if isinstance(worse, str) else worse
    return tuple(Comparison(better, other, metric) for other in worse for metric in metrics)


ORDERINGS = (
    Ordering(
        "Mask class tokens without RMA > CLIP baseline",
        "MaskCLIP, Tables 2 to 4: mIoU, PQ and AP on every dataset",
        _all("maskclip_worma", "clip_baseline", "PQ_all", "mIoU_all", "AP_all", "PQ_novel"),
    ),
    Ordering(
        "RMA > without RMA",
        "MaskCLIP, Tables 2 to 4: mIoU, PQ and AP on every dataset",
        _all("maskclip", "maskclip_worma", "PQ_all", "mIoU_all", "AP_all", "PQ_novel"),
    ),
    Ordering(
        "Mask refinement raises SQ",
        "MaskCLIP, Table 8: SQ 66.4 to 70.5, PQ 13.6 to 15.1 on ADE20K",
        _all("maskclip", "maskclip_no_refinement", "SQ_all", "PQ_all"),
    ),
    Ordering(
        "RMA at the end of each quarter of the depth > in earlier layers, or in the last sixth",
        "MaskCLIP, Table 9: PQ 15.1 against 11.2 to 14.7 on ADE20K",
        _all("maskclip", ("maskclip_layers_1_4_7_10", "maskclip_layers_2_5_8_11", "maskclip_layers_11_12"), "PQ_all"),
    ),
    Ordering(
        "Ground-truth masks > proposals",
        "MaskCLIP, Table 7: PQ 35.8 against 15.1 on ADE20K",
        _all("maskclip_gt", "maskclip", "PQ_all", "mIoU_all"),
    ),
    Ordering(
        "MasQCLIP > MaskCLIP",
        "MasQCLIP, quantitative results: PQ 23.3 against 15.1, mIoU 30.4 against 23.7 on ADE20K; novel AP50 on COCO "
        "31.9, MaskCLIP 21.7 (its Table 5, generalised)",
        _all("masqclip", "maskclip", "PQ_all", "mIoU_all", "AP50_novel", "AP50_all"),
    ),
    Ordering(
        "The object score matters most: without it less is left than without any other part",
        "MasQCLIP: all AP50 on COCO 15.4 without it, 45.6 with it",
        tuple(
            Comparison(other, "masqclip_no_object_score", "AP50_all")
            for other in ("masqclip", "masqclip_rounds_0", "masqclip_no_tuning")
        ),
    ),
    Ordering(
        "Distillation raises novel recall and novel AP",
        "MasQCLIP: novel AP50 on COCO 22.6 / 26.1 / 31.9 / 31.2 for 0 / 1 / 2 / 3 rounds",
        _all("masqclip_rounds_1", "masqclip_rounds_0", "AR@10_novel", "AR@100_novel", "AP50_novel")
        + _all("masqclip", "masqclip_rounds_1", "AR@10_novel", "AR@100_novel", "AP50_novel"),
    ),
    Ordering(
        "Tuning queries generalises better than tuning keys or values",
        "MasQCLIP, MasQ-Tuning: new query projections keep the result in the row space of CLIP's values",
        _all("masqclip", ("masqclip_key", "masqclip_value"), "AP50_novel", "PQ_novel"),
    ),
    Ordering(
        "Tuned and untuned scores mixed > tuned scores alone",
        "FC-CLIP: a geometric mean with one weight for training categories and one for others",
        _all("masqclip_untuned_scores", "masqclip", "PQ_all", "PQ_novel"),
    ),
    Ordering(
        "Tuning on ground-truth masks > on proposals",
        "MaskCLIP++",
        _all("masqclip_gt_masks", "masqclip", "PQ_all", "mIoU_all"),
    ),
    Ordering(
        "Values of the last block pooled by masks > mask class tokens without RMA",
        "TextRegion, CorrCLIP",
        _all("value_pooling", "maskclip_worma", "PQ_all", "mIoU_all"),
    ),
    Ordering(
        "Image in tiles > in one piece",
        "training-free methods that slide a window, such as CorrCLIP",
        _all("maskclip_worma_tiles", "maskclip_worma", "PQ_all", "mIoU_all"),
    ),
)
