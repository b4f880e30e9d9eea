"""Annotation files in COCO's formats: the only readers of registration, mappers, evaluators and checks.

They share one definition of what an annotation file contains, so that training and evaluation leave out the same. What
cannot be used at all is an error with file and id; what can be used in part is counted in a report, logged once.

| module | contents |
| --- | --- |
| structure | lists, ids, sizes, names |
| instances | instances: masks, areas, crowds |
| boxes | boxes, compared with their masks |
| segments | panoptic segments |
| report | what was left out or corrected |
"""

from .instances import InstanceFile, instances_of, read_instances, usable_instances
from .report import AnnotationReport, without_warnings
from .segments import PanopticFile, read_segments, segments_of, usable_segments
from .structure import read_annotations, require_entries

__all__ = [
    "AnnotationReport",
    "InstanceFile",
    "PanopticFile",
    "instances_of",
    "read_annotations",
    "read_instances",
    "read_segments",
    "require_entries",
    "segments_of",
    "usable_instances",
    "usable_segments",
    "without_warnings",
]
