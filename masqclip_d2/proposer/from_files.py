"""Masks made elsewhere (SAM, another detector, by hand) as proposals, found by image file name or id.

Keys MODEL.MASQCLIP.PROPOSER.FILES.*. Formats: those of `mask_files.read_mask_file`, and COCO's results in one JSON file
for a whole dataset.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import configurable

from ..coco_masks import ScoredMasks
from ..files import expand_home
from ..json_data import read_json
from ..structures import MaskProposals
from .mask_files import SUFFIXES, masks_of_file_entries, read_mask_file
from .registry import PROPOSER_REGISTRY, Proposer


class MaskFinder:
    """Reads the stored masks of an image.

    Args:
        path: folder with one file or folder per image, or a JSON file for a whole dataset: a list of COCO's results
            (`image_id`, `segmentation`, `score`), or COCO's {"images": [...], "annotations": [...]}.
        pattern: name of an image's masks in that folder, with the fields {stem} and {name} (its file name without and
            with suffix), {parent} (name of its folder) and {image_id}; a suffix that is not given is tried out.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: `path` is a file of another format, or `pattern` has an unknown field.
    """

    def __init__(self, path: str | Path, pattern: str = "{stem}") -> None:
        if not str(path):
            raise ValueError(
                "MODEL.MASQCLIP.PROPOSER.FILES.PATH is empty; set it to the folder of the masks, or to a JSON file of "
                "COCO's results."
            )
        self.path, self.pattern = expand_home(path), pattern
        if not self.path.exists():
            raise FileNotFoundError(f"MODEL.MASQCLIP.PROPOSER.FILES.PATH: {self.path} does not exist.")
        if self.path.is_file():
            if self.path.suffix != ".json":
                raise ValueError(
                    f"MODEL.MASQCLIP.PROPOSER.FILES.PATH is the file {self.path}; expected a folder with one file per "
                    "image, or a .json file of COCO's results."
                )
            self._entries()  # before workers are started, so that they share it
        elif not pattern:
            raise ValueError("MODEL.MASQCLIP.PROPOSER.FILES.PATTERN is empty; the default is '{stem}'.")
        else:
            self._name_of({"file_name": "folder/image.png", "image_id": 0})

    def __call__(self, record: dict, image_hw: tuple[int, int]) -> ScoredMasks:
        """Masks of an image at its original size.

        Args:
            record: has `file_name`, `image_id` or both.
            image_hw: (height, width) of the image on disk in pixels.

        Raises:
            FileNotFoundError: the image has no masks.
            ValueError: see `read_mask_file`.
        """
        if self.path.is_file():
            return self._from_dataset(record, image_hw)
        base = self.path / self._name_of(record)
        candidates = [base, *(base.with_name(base.name + suffix) for suffix in SUFFIXES)]
        found = [path for path in candidates if path.exists()]
        if len(found) > 1:
            raise ValueError(f"Image {_title(record)} has masks in {found[0]} and {found[1]}; keep one of them.")
        if not found:
            others = sorted(path.name for path in base.parent.glob("*") if path.name.startswith(f"{base.name}."))
            hint = f" There is {', '.join(others[:3])}, which is of another format." if others else ""
            raise FileNotFoundError(
                f"Image {_title(record)} has no masks: none of {', '.join(map(str, candidates))} exists.{hint} These "
                f"names follow MODEL.MASQCLIP.PROPOSER.FILES.PATTERN, {self.pattern!r}."
            )
        return read_mask_file(found[0], image_hw)

    def _name_of(self, record: dict) -> str:
        fields: dict[str, Any] = {}
        if "file_name" in record:
            file = Path(record["file_name"])
            fields = {"stem": file.stem, "name": file.name, "parent": file.parent.name}
        if "image_id" in record:
            fields["image_id"] = record["image_id"]
        try:
            return self.pattern.format_map(fields)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(
                f"MODEL.MASQCLIP.PROPOSER.FILES.PATTERN {self.pattern!r} cannot be filled in ({error}) for image "
                f"{_title(record)}, of which {', '.join(fields) or 'no name'} is known; an image has stem, name and "
                "parent if it comes from a file, and image_id if it comes from a dataset."
            ) from None

    def _from_dataset(self, record: dict, image_hw: tuple[int, int]) -> ScoredMasks:
        by_image = self._entries()
        keys = [str(record["image_id"])] if "image_id" in record else []
        if "file_name" in record:
            file = Path(record["file_name"])
            # COCO's file names are padded ids; they are not trusted against an id of the dataset.
            keys += [file.name] if keys else [file.name, file.stem, file.stem.lstrip("0")]
        key = next((key for key in keys if key in by_image), None)
        if key is None:
            tried = ", ".join(map(repr, keys)) or "nothing"
            raise FileNotFoundError(
                f"{self.path} has no masks of image {_title(record)} (searched for {tried}); list images without masks "
                "under 'images'."
            )
        return masks_of_file_entries(by_image[key], image_hw, f"{self.path} for image {_title(record)}")

    def _entries(self) -> dict[str, list[dict]]:
        return _dataset_entries(self.path, self.path.stat().st_mtime_ns)


@PROPOSER_REGISTRY.register()
class FileProposer(Proposer):
    """Stored masks as proposals, with their scores as object scores (1 without).

    At test masks are read at the original size of the image and cover the whole `image` of the record, which may be
    resized. In training the mapper reads them and applies its augmentations (`proposal_masks`, `proposal_scores`).

    Args:
        masks: reads the masks of a record.
    """

    supports_resized_images = False

    @configurable
    def __init__(self, *, masks: MaskFinder) -> None:
        super().__init__()
        self.masks = masks

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {"masks": cls.stored_masks(cfg)}

    @classmethod
    def stored_masks(cls, cfg) -> MaskFinder:
        """See `Proposer.stored_masks`."""
        files = cfg.MODEL.MASQCLIP.PROPOSER.FILES
        return MaskFinder(files.PATH, files.PATTERN)

    def propose(self, batched_inputs: Sequence[dict]) -> list[MaskProposals]:
        """See `Proposer.propose`.

        Args:
            batched_inputs: per image "image" (3, H, W), and "file_name" or "image_id", with "height" and "width" of the
                file if `image` is resized; or "proposal_masks" (N, H, W) bool with "proposal_scores" (N,).

        Raises:
            FileNotFoundError, ValueError: see `MaskFinder`; a training record has no `proposal_masks`.
        """
        return [self._masks_of(record) for record in batched_inputs]

    def _masks_of(self, record: dict) -> MaskProposals:
        image_hw = tuple(record["image"].shape[-2:])
        if "proposal_masks" in record:
            masks, scores = record["proposal_masks"], record["proposal_scores"]
        elif "instances" in record:
            raise ValueError(
                f"The record of {_title(record)} has ground truth but no 'proposal_masks': stored masks may not fit "
                "its augmented image. Use a mapper of this package, or one derived from SegmentationMapper."
            )
        else:
            found = self.masks(record, (record.get("height", image_hw[0]), record.get("width", image_hw[1])))
            masks, scores = torch.from_numpy(found.masks), torch.from_numpy(found.scores)
        return MaskProposals.from_binary_masks(masks.to(self.device), scores.to(self.device), image_hw)


@functools.lru_cache(maxsize=1)
def _dataset_entries(path: Path, modified: int) -> dict[str, list[dict]]:
    """Masks by image of a JSON file for a whole dataset, last `modified` then.

    Keys are image ids as text, and the names of files in 'images' unless two of them are the same.
    """
    content = read_json(path)
    tables = content if isinstance(content, dict) else {"annotations": content}
    entries, images = tables.get("annotations"), tables.get("images", [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) and "image_id" in one for one in entries):
        raise ValueError(
            f"{path} is no list of COCO's results; expected dicts with image_id, segmentation and score. Masks of a "
            "single image belong into a folder, MODEL.MASQCLIP.PROPOSER.FILES.PATH."
        )
    by_image: dict[str, list[dict]] = defaultdict(list)
    for entry in entries:
        by_image[str(entry["image_id"])].append(entry)
    names = Counter(Path(image.get("file_name", "")).name for image in images)
    for image in images:
        name = Path(image.get("file_name", "")).name
        of_image = by_image[str(image["id"])]  # empty for an image without masks
        if name and names[name] == 1:
            by_image[name] = of_image
    return dict(by_image)


def _title(record: dict) -> str:
    return str(record.get("file_name", record.get("image_id", "without a name")))
