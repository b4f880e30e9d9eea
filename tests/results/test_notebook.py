"""What notebooks show of a result."""

import io
from dataclasses import replace

from PIL import Image

from masqclip_d2.results import Segment
from tests.results.example import example


def test_the_picture_is_a_png_of_moderate_size():
    image = Image.open(io.BytesIO(example()._repr_png_()))
    assert image.format == "PNG" and max(image.size) <= 900 and image.width > image.height


def test_the_table_lists_segments_and_escapes_their_names():
    found = example()._repr_html_()
    assert "grass &amp; &lt;sky&gt;" in found and "<sky>" not in found
    assert found.count("<tr>") == 4 and found.index("dog</td>") < found.index("cat</td>")
    assert "<td>0.90</td><td>350</td><td>5, 5, 25, 25</td>" in found
    assert 'src="data:image/png;base64,iVBOR' in found


def test_long_tables_are_cut():
    mask = example()[0].mask
    many = replace(example(), segments=[Segment("dog", 1, True, 0.5, mask) for _ in range(33)])
    assert many._repr_html_().count("<tr>") == 31 and "and 3 more segments" in many._repr_html_()
