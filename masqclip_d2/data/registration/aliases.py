"""Aliases of the datasets: names under which Mask2Former and open-vocabulary projects register them.

Importing this package registers no alias, so that such a project can be imported before or after it. A command calls
`register_aliases` after all imports with the names in its configuration; names that are already registered keep their
dataset.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable

from detectron2.data import DatasetCatalog, MetadataCatalog

# Dataset name without prefix -> aliases; {} is the split.
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
    alias.format(split): f"masqclip_{name.format(split)}"
    for name, aliases in _NAMES.items()
    for alias in aliases
    for split in ("train", "val")
    if not (name == "lvis_v1_{}" and split == "train")
}
"""Alias -> dataset name."""
_OF_DETECTRON2 = frozenset(DatasetCatalog.list())  # when this module is imported


def canonical_name(dataset: str) -> str:
    """Return the dataset name of an alias; other names are returned unchanged."""
    return ALIASES.get(dataset, dataset)


def register_aliases(names: Iterable[str]) -> list[str]:
    """Register the aliases among some names.

    Names that are registered already, by Detectron2 or another project, keep their dataset.

    Args:
        names: for example DATASETS.TEST; names that are no aliases are ignored.

    Returns:
        The newly registered names.
    """
    added = []
    for name in names:
        if name in ALIASES and name not in DatasetCatalog.list() and name not in MetadataCatalog.list():
            dataset = ALIASES[name]
            metadata = {key: value for key, value in MetadataCatalog.get(dataset).as_dict().items() if key != "name"}
            DatasetCatalog.register(name, functools.partial(DatasetCatalog.get, dataset))
            MetadataCatalog.get(name).set(**metadata)
            added.append(name)
    return added


def require_registered(names: Iterable[str]) -> None:
    """Check that datasets are registered, after `register_aliases`.

    Raises:
        ValueError: one is not; see `registered_names_near`.
    """
    for name in names:
        if name not in DatasetCatalog.list():
            raise ValueError(f"Dataset {name!r} is not registered. {registered_names_near(name)}")


def registered_names_near(name: str) -> str:
    """Hint for an unknown dataset name or pattern: the registered names like it, or all but Detectron2's own."""
    near = difflib.get_close_matches(name.rstrip("*"), DatasetCatalog.list(), n=3)
    others = sorted(set(DatasetCatalog.list()) - _OF_DETECTRON2)
    found = f"Did you mean {' or '.join(near)}?" if near else f"Registered: {', '.join(others)}."
    return f"{found} Register your own in a file given by --import FILE."
