"""Structure of an annotation file: lists of objects, ids, sizes and names of images, categories and annotations."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ...categories import refuse_repeated
from ...json_data import read_json

RowType = TypeVar("RowType", bound=Mapping[str, Any])

_LISTS = ("images", "annotations", "categories")
_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,17}")  # fits into 64 bits
_LARGEST_ID = 2**63 - 1
_LARGEST_IMAGE = 2**29  # pixels; pycocotools counts with 32 bits
_LONGEST_SHOWN = 80  # characters of a value in a message


def read_annotations(path: str | os.PathLike) -> dict[str, Any]:
    """Read an annotation file in one of COCO's formats: `images`, `annotations` and `categories`.

    Ids are integers, or text where a number is written with other characters; "96" is 96, for ids and for sizes. If
    some of the ids of images are text, all are. Names of categories are text without control characters.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not valid JSON, or incomplete; a value is of another kind; duplicate categories or images; an
            annotation of an image that is not listed.
    """
    content = read_json(path)
    missing = [key for key in _LISTS if key not in (content if isinstance(content, dict) else ())]
    if missing:
        raise ValueError(f"{path} has no {', '.join(sorted(missing))}, which COCO's formats require.")
    for key in _LISTS:
        _require_rows(content[key], key, path)
    _read_categories(content["categories"], path)
    _read_images(content["images"], content["annotations"], path)
    return content


def used_categories(rows: Sequence[RowType], ignored: Collection[int], path: str | os.PathLike) -> list[RowType]:
    """The categories without the ignored ids.

    Raises:
        ValueError: two have the same name.
    """
    used = [row for row in rows if row["id"] not in ignored]
    try:
        refuse_repeated(used, str(path))
    except ValueError as error:
        name = repeated(row["name"] for row in used)[0]
        ids = [row["id"] for row in used if row["name"] == name]
        raise ValueError(
            f"{str(error)[:-1]} (ids {ids}); rename one, or leave it out, as ignore_categories={ids[:1]}."
        ) from None
    return used


def require_entries(rows: Iterable[Mapping[str, Any]], keys: Sequence[str], what: str) -> None:
    """Raise ValueError, starting with `what` and the id, for the first row that lacks one of the keys."""
    for row in rows:
        missing = [key for key in keys if key not in row]
        if missing:
            name = row.get("id", row.get("name", "without id"))
            raise ValueError(f"{what} {shown(name)} has no {', '.join(missing)}, which COCO's formats require.")


def identifier(value: Any, what: str) -> int | str:
    """An id as an integer, or as text if it is no number.

    Raises:
        ValueError: it is neither; `what` starts the message.
    """
    if type(value) is int:
        return value if -_LARGEST_ID <= value <= _LARGEST_ID else str(value)
    if isinstance(value, str) and value.strip():
        return int(value) if _DECIMAL.fullmatch(value) else value
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    raise ValueError(f"{what} {shown(value)}; expected an integer, or text.")


def integer_id(value: Any, what: str) -> int:
    """An id as an integer, which may be written as text or with ".0"; ValueError as in `identifier`."""
    found = identifier(value, what)
    if isinstance(found, str):
        raise ValueError(f"{what} {shown(value)}, but evaluation requires integer ids of at most 64 bits.")
    return found


def flag(value: Any, what: str) -> int:
    """0 or 1, which may be written as a truth value, text or null (0).

    Raises:
        ValueError: it is none of these; `what` starts the message.
    """
    if value is None:
        return 0
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return int(value)
    if isinstance(value, str) and value.lower() in ("0", "1", "false", "true"):
        return int(value.lower() in ("1", "true"))
    raise ValueError(f"{what} {shown(value)}; expected 0 or 1.")


def number(value: Any) -> float | None:
    """A finite number, which may be written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def repeated(values: Iterable[Any]) -> list[Any]:
    """The values that occur more than once, in the order of their first occurrence."""
    return [value for value, count in Counter(values).items() if count > 1]


def file_name(value: Any, what: str) -> str:
    """The name of a file.

    Raises:
        ValueError: it is none; `what` starts the message.
    """
    if not isinstance(value, str) or not value.strip() or value.strip() in (".", "..") or "\0" in value:
        raise ValueError(f"{what} {shown(value)}; expected the name of a file.")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise ValueError(f"{what} {shown(value)}, which no file can have; save the file as UTF-8.") from None
    return value


def shown(value: Any) -> str:
    """A value in a message, of bounded length."""
    text = repr(value)
    return f"{text[:_LONGEST_SHOWN]}..." if len(text) > _LONGEST_SHOWN else text


def _require_rows(rows: Any, key: str, path: str | os.PathLike) -> None:
    if not isinstance(rows, list):
        raise ValueError(f"{path}: {key!r} is {shown(rows)}; expected a list.")
    if not rows and key != "annotations":
        raise ValueError(f"{path} has no {key}: its list {key!r} is empty.")
    for position, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"{path}: entry {position} of {key!r} is {shown(row)}; expected an object with fields.")


def _read_categories(rows: list[dict[str, Any]], path: str | os.PathLike) -> None:
    require_entries(rows, ("id", "name"), f"{path}: category")
    for row in rows:
        row["id"] = integer_id(row["id"], f"{path} has the category id")
        row["name"] = _category_name(row["name"], f"{path}: category {row['id']} has the name")
        if row.get("isthing") is None:  # not 0: whether it is a thing is unknown
            row.pop("isthing", None)
        else:
            row["isthing"] = flag(row["isthing"], f"{path}: category {row['id']} has 'isthing'")
        if not _is_color(row.get("color")):
            row.pop("color", None)
    if twice := repeated(row["id"] for row in rows):
        raise ValueError(f"{path} has the category id {twice[0]} more than once.")


def _category_name(name: Any, what: str) -> str:
    is_name = isinstance(name, (str, int, float)) and not isinstance(name, bool)
    text = str(name) if is_name else ""
    cleaned = "".join(letter if letter.isprintable() else " " for letter in text)
    if not cleaned.strip(" ,_"):
        raise ValueError(f"{what} {shown(name)}; give it a name.")
    return text if cleaned == text else cleaned.strip()


def _is_color(color: Any) -> bool:
    """Whether it is (red, green, blue), 0..255."""
    return (
        isinstance(color, list) and len(color) == 3 and all(type(value) is int and 0 <= value < 256 for value in color)
    )


def _read_images(images: list[dict[str, Any]], annotations: list[dict[str, Any]], path: str | os.PathLike) -> None:
    require_entries(images, ("id",), f"{path}: image")
    require_entries(annotations, ("image_id",), f"{path}: annotation")
    for image in images:
        image["id"] = identifier(image["id"], f"{path} has the image id")
        where = f"{path}: image {shown(image['id'])}"
        if "file_name" in image:
            image["file_name"] = file_name(image["file_name"], f"{where} has the file_name")
        elif "coco_url" in image:
            file_name(image["coco_url"], f"{where} has the coco_url")
        _read_size(image, where)
    as_text = any(isinstance(image["id"], str) for image in images)
    if as_text:  # pycocotools sorts the ids
        for image in images:
            image["id"] = str(image["id"])
    known = {image["id"] for image in images}
    if twice := repeated(image["id"] for image in images):
        raise ValueError(
            f"{path}: image ids must be unique, but {shown(twice[0])} occurs more than once; remove the repeated "
            "image, or give it another id."
        )
    for annotation in annotations:
        image_id = annotation["image_id"]
        if type(image_id) is not int or as_text:
            image_id = identifier(image_id, f"{path}: annotation {shown(annotation.get('id', '?'))} has the image_id")
            annotation["image_id"] = image_id = str(image_id) if as_text else image_id
        if image_id not in known:
            raise ValueError(
                f"{path} has annotations of image {shown(image_id)}, which is not among its {len(images)} images; is "
                "it another split's file?"
            )


def _read_size(image: dict[str, Any], where: str) -> None:
    for key in ("height", "width"):
        if key not in image:
            continue
        side = number(image[key])
        if side is None or side < 1 or not side.is_integer():
            raise ValueError(f"{where} has the {key} {shown(image[key])}; expected a number of pixels.")
        image[key] = int(side)
    if image.get("height", 1) * image.get("width", 1) > _LARGEST_IMAGE:
        raise ValueError(
            f"{where} is {image.get('width', '?')}x{image.get('height', '?')} pixels (width x height) by its entry; "
            f"the limit is {_LARGEST_IMAGE} pixels in all."
        )
