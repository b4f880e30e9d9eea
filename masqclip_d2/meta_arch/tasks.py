"""Which predictions an open-vocabulary model makes, and with which thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace

TASK_NAMES = ("panoptic", "semantic", "instance")


@dataclass(frozen=True)
class Tasks:
    """Predictions and their settings (MODEL.MASK_FORMER.TEST.*, MODEL.MASQCLIP.TEST.*, TEST.DETECTIONS_PER_IMAGE).

    The prediction of a task does not depend on which other tasks are on.
    """

    semantic: bool = True
    panoptic: bool = True
    instance: bool = True
    object_threshold: float = 0.0  # panoptic: score below which a proposal is dropped, in [0, 1]
    overlap_threshold: float = 0.0  # panoptic: share of its mask that a proposal must win, in [0, 1]
    topk: int = 100  # instances per image
    score_threshold: float = 0.0  # instance: score below which an instance is left out, in [0, 1]
    # semantic: resize masks, then sum them; False: resize class maps (published for models with semantic output only)
    resize_masks_first: bool = True
    duplicate_iou: float = 1.0  # instance: IoU above which the mask of a better instance is a duplicate, in [0, 1]
    unknown_threshold: float = 0.5  # of background prompts, in [0, 1], see `fusion.background`
    class_maps: bool = False  # semantic: besides labels also `sem_seg`, which takes K floats per pixel

    def __post_init__(self) -> None:
        for name in ("duplicate_iou", "unknown_threshold"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}.")

    @classmethod
    def from_config(cls, cfg) -> Tasks:
        test = cfg.MODEL.MASK_FORMER.TEST
        return cls(
            semantic=test.SEMANTIC_ON,
            panoptic=test.PANOPTIC_ON,
            instance=test.INSTANCE_ON,
            object_threshold=test.OBJECT_MASK_THRESHOLD,
            overlap_threshold=test.OVERLAP_THRESHOLD,
            topk=cfg.TEST.DETECTIONS_PER_IMAGE,
            resize_masks_first=test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE,
            duplicate_iou=cfg.MODEL.MASQCLIP.TEST.DUPLICATE_IOU,
            unknown_threshold=cfg.MODEL.MASQCLIP.TEST.UNKNOWN_THRESHOLD,
            class_maps=cfg.MODEL.MASQCLIP.TEST.CLASS_MAPS,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks that are on."""
        return tuple(name for name in TASK_NAMES if getattr(self, name))

    def only(self, name: str) -> Tasks:
        """The same settings with one task on.

        Raises:
            ValueError: `name` is not one of `TASK_NAMES`.
        """
        if name not in TASK_NAMES:
            raise ValueError(f"task is {name!r}; expected one of {', '.join(TASK_NAMES)}.")
        return replace(self, **{task: task == name for task in TASK_NAMES})
