"""Customary names of our datasets: those under which Mask2Former and the open-vocabulary projects register them.

Importing us registers none of them. Such a project can therefore be imported before or after us, and keeps its names. A
command registers those that its configuration asks for, at its start, when all imports are done, and only where nobody
else has: `register_aliases`. A project that is imported even later, within a run, still gets all names that
the run does not use.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from detectron2.data import DatasetCatalog, MetadataCatalog

# Our name without prefix and split -> theirs; {} is the split.
_NAMES = {
    "coco_panoptic_{}": ("coco_2017_{}_panoptic_with_sem_seg", "openvocab_coco_2017_{}_panoptic_with_sem_seg"),
    "coco_instance_{}_base48": ("coco_instance_{}_base48",),
    "coco_instance_{}_novel17": ("coco_instance_{}_novel17",),
    "coco_instance_{}_instances65": ("coco_instance_{}_instances65",),
    "ade20k_sem_seg_{}": ("ade20k_sem_seg_{}",),
    "ade20k_instance_{}": ("ade20k_instance_{}",),
    "ade20k_panoptic_{}": ("ade20k_panoptic_{}",),
    "ade20k_full_sem_seg_{}": ("ade20k_full_sem_seg_{}", "openvocab_ade20k_full_sem_seg_{}"),
    "pascal_context_59_sem_seg_{}": (
        "pascal_context_59_sem_seg_{}",
        "ctx59_sem_seg_{}",
        "openvocab_pascal_ctx59_sem_seg_{}",
        "pcontext_sem_seg_{}",
    ),
    "pascal_context_459_sem_seg_{}": (
        "pascal_context_459_sem_seg_{}",
        "ctx459_sem_seg_{}",
        "openvocab_pascal_ctx459_sem_seg_{}",
        "pcontext_full_sem_seg_{}",
    ),
    "pascal_voc_20_sem_seg_{}": ("openvocab_pascal20_sem_seg_{}", "voc_sem_seg_{}"),
    "pascal_voc_21_sem_seg_{}": ("openvocab_pascal21_sem_seg_{}",),
    "lvis_v1_{}": ("lvis_v1_{}",),
}

ALIASES = {
    theirs.format(split): f"masqclip_{ours.format(split)}"
    for ours, names in _NAMES.items()
    for theirs in names
    for split in ("train", "val")
    if not (ours == "lvis_v1_{}" and split == "train")
}
"""Customary name -> our dataset."""


def canonical_name(dataset: str) -> str:
    """Our name of a dataset that is asked for by a customary one; others stay as they are."""
    return ALIASES.get(dataset, dataset)


def register_aliases(names: Iterable[str]) -> list[str]:
    """Register those of some names that are customary and free, as further names of our datasets.

    A name that anybody has registered, Detectron2 included, is left as it is.

    Args:
        names: such as DATASETS.TEST; others than customary ones are passed over.

    Returns:
        The names that were registered now.
    """
    added = []
    for name in names:
        if name in ALIASES and name not in DatasetCatalog.list() and name not in MetadataCatalog.list():
            ours = ALIASES[name]
            metadata = {key: value for key, value in MetadataCatalog.get(ours).as_dict().items() if key != "name"}
            DatasetCatalog.register(name, functools.partial(DatasetCatalog.get, ours))
            MetadataCatalog.get(name).set(**metadata)
            added.append(name)
    return added
