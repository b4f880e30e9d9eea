import base64
import io

import numpy as np
from PIL import Image

from masqclip_d2.results import Segment, Segmentation
from masqclip_d2.vocabulary import Vocabulary
from projects.notebooks.outputs import display_output


def picture_of(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_pictures_are_small_jpegs_and_addresses_are_left_out():
    output = display_output(Image.new("RGB", (2000, 1000), "red"), 4)
    picture = picture_of(output["data"]["image/jpeg"])
    assert picture.format == "JPEG" and picture.size == (840, 420) and picture.getpixel((5, 5))[0] > 250
    assert output["data"]["text/plain"] == ["<PIL.Image.Image image mode=RGB size=2000x1000>"]


def test_a_result_is_html_with_a_jpeg():
    mask = np.ones((40, 60), dtype=bool)
    vocabulary = Vocabulary.from_names("cat")
    result = Segmentation(np.zeros((40, 60, 3), np.uint8), vocabulary, "panoptic", [Segment("cat", 0, True, 0.9, mask)])
    data = display_output(result)["data"]
    html = "".join(data["text/html"])
    assert "<td>cat</td>" in html and "image/png" not in html and "image/jpeg" not in data
    assert picture_of(html.split("data:image/jpeg;base64,")[1].split('"')[0]).format == "JPEG"
