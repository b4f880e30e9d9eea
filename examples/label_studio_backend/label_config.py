"""Labels of a Label Studio project: which tag receives segments, and which categories it has."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

_KINDS = {"BrushLabels": "brushlabels", "PolygonLabels": "polygonlabels"}


@dataclass(frozen=True)
class LabelTag:
    """A control tag of a labeling interface.

    Args:
        kind: "brushlabels" or "polygonlabels".
        from_name: its name.
        to_name: name of the image tag.
        data_key: key of the image in the data of a task.
        labels: its categories.
        stuff: those of them with the attribute kind="stuff".
    """

    kind: str
    from_name: str
    to_name: str
    data_key: str
    labels: tuple[str, ...]
    stuff: tuple[str, ...]


def find_tag(label_config: str) -> LabelTag:
    """The first tag for brushes or polygons in a labeling interface.

    Raises:
        ValueError: the interface is no XML, or has no such tag for an image.
    """
    if "<!" in label_config:  # entities could take any memory
        raise ValueError("The labeling interface has a declaration or a comment (<!...); remove it.")
    try:
        root = ElementTree.fromstring(label_config)
    except ElementTree.ParseError as error:
        raise ValueError(f"The labeling interface is no XML ({error}).") from None
    images = {tag.get("name", ""): tag.get("value", "").lstrip("$") for tag in root.iter("Image")}
    for tag in root.iter():
        to_name = tag.get("toName", "")
        if tag.tag in _KINDS and to_name in images:
            labels = [one for one in tag.iter("Label") if one.get("value")]
            names = tuple(one.get("value", "") for one in labels)
            stuff = tuple(one.get("value", "") for one in labels if one.get("kind") == "stuff")
            if names:
                return LabelTag(_KINDS[tag.tag], tag.get("name", ""), to_name, images[to_name], names, stuff)
    raise ValueError("The labeling interface has no <BrushLabels> or <PolygonLabels> with labels for an <Image>.")
