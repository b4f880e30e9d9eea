import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from masqclip_d2 import Vocabulary
from masqclip_d2.results import RejectedRegion, Segment, Segmentation
from masqclip_d2.web.overlay_html import message_html, result_html, table_html

EVIL = "<img src=x onerror=\"alert('&')\">"


def result(name=EVIL, height=40, width=30, **others):
    mask = np.zeros((height, width), bool)
    mask[5:15, 5:25] = True
    mask[8:10, 8:10] = False
    vocabulary = Vocabulary((name, "sky"), (True, False))
    segments = [Segment(name, 0, True, 0.9, mask), Segment("sky", 1, False, 0.5, np.zeros_like(mask))]
    return Segmentation(np.zeros((height, width, 3), np.uint8), vocabulary, "panoptic", segments, **others)


def test_names_are_escaped():
    region = RejectedRegion(EVIL, 0.5, 3, (0, 0, 1, 1))
    html = result_html(result(rejected=[region])) + message_html(EVIL) + table_html(EVIL, [EVIL], [[EVIL, EVIL]])
    assert "<img" not in html and "onerror=&quot;" in html
    empty = result()
    empty.segments = []
    assert "None of these was found: &lt;img" in result_html(empty)


def test_segments_are_shapes_with_names_for_screen_readers_and_the_keyboard():
    root = ElementTree.fromstring(result_html(result("cat")))
    picture = root.find(".//svg")
    assert picture.get("viewBox") == "0 0 30 40" and picture.get("aria-label") == "Image with 2 segments"
    shapes = picture.findall("g")
    assert [shape.get("aria-label") for shape in shapes] == [
        "cat, score 90%, 16.3% of the image",
        "sky, score 50%, 0.0% of the image",
    ]
    assert all(shape.get("tabindex") == "0" and shape.get("role") == "img" for shape in shapes)
    outlines = shapes[0].find("path").get("d").split("M")[1:]
    assert outlines[0].startswith("5,5L") and len(outlines) == 2  # one is the hole
    assert [text.get("class") for text in shapes[0].findall("text")] == ["tag", "tip"]  # sky is too small for a name
    cells = ["".join(cell.itertext()) for cell in root.findall(".//tr")[1]]
    assert cells == ["cat", "thing", "90%", "16.3%", "5, 5, 25, 15"]


def test_large_images_are_shrunk_and_coarse_masks_have_a_switch():
    html = result_html(result("cat", 3000, 40), result("cat", 3000, 40))
    assert html.count('viewBox="0 0 16 1200"') == 2 and html.count('type="radio"') == 2
    assert len(re.findall("data:image/jpeg;base64,", html)) == 2


def test_many_segments_are_counted():
    many = result("cat")
    many.segments = many.segments[:1] * 130
    html = result_html(many)
    assert html.count('class="seg"') == 100 and "30 more with lower scores are in the JSON file" in html
