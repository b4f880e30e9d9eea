"""Checks of a dataset's annotation files, read as training and evaluation read them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ..data.annotation_files import InstanceFile, PanopticFile, instances_of, segments_of
from .check_result import CheckResult

_MAX_RENAMED_SHARE = 0.2  # ADE20K's instance challenge has other names for 8 of 100 things


class AnnotationFiles:
    """The annotation files of a dataset, each read once.

    Args:
        metadata: of the dataset.
    """

    def __init__(self, metadata: Any) -> None:
        self._metadata = metadata

    @cached_property
    def _files(self) -> dict[str, InstanceFile | PanopticFile]:
        """By path; only files that exist, of datasets with a table of categories."""
        found: dict[str, InstanceFile | PanopticFile] = {}
        readers = {
            "json_file": (instances_of, "thing_dataset_id_to_contiguous_id"),
            "panoptic_json": (segments_of, "stuff_dataset_id_to_contiguous_id"),
        }
        for key, (read, ids) in readers.items():
            path = getattr(self._metadata, key, None)
            if path and os.path.isfile(path) and getattr(self._metadata, ids, None):
                found[path] = read(self._metadata.as_dict())
        return found

    def results(self) -> list[CheckResult]:
        """One for each file about which there is something to say; failed if it has no object that counts."""
        found = []
        for path, file in self._files.items():
            if sentences := file.report.sentences():
                message = f"{path}: {' '.join(sentences)}"
                found.append(CheckResult("annotations", _has_objects(file.content), message, warning=True))
        return found

    def compare_names(self, ids: Mapping[int, int], vocabulary: Mapping[str, Any]) -> None:
        """Raise ValueError if too many category ids of a file have other names; a few renamed ones are accepted.

        Args:
            ids: category id -> contiguous id.
            vocabulary: `names` and `synonyms` by contiguous id.
        """
        for path, file in self._files.items():
            rows = [row for row in file.content["categories"] if row["id"] in ids]  # a file may list more
            other = []
            for row in rows:
                index = ids[row["id"]]
                found = row["name"].replace("_", " ").strip()
                if not {found, *found.split(", ")} & {vocabulary["names"][index], *vocabulary["synonyms"][index]}:
                    other.append((row["id"], row["name"], vocabulary["names"][index]))
            if len(other) > _MAX_RENAMED_SHARE * len(file.content["categories"]):
                raise ValueError(
                    f"{path} has other names for {len(other)} of {len(file.content['categories'])} category ids, such "
                    f"as {other[0][0]}: {other[0][1]!r}, which should be {other[0][2]!r}; its category ids are "
                    "numbered differently."
                )


def _has_objects(content: Mapping[str, Any]) -> bool:
    """Whether an annotation or segment is no crowd."""
    rows = (row for annotation in content["annotations"] for row in annotation.get("segments_info", [annotation]))
    return any(not row["iscrowd"] for row in rows)
