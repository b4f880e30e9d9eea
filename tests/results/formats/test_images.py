"""PNG files of a result: label maps, and one mask per segment."""

import numpy as np
from PIL import Image

from masqclip_d2.results.colors import category_colors
from tests.results.example import VOCABULARY, example


def test_the_label_map_has_a_palette(tmp_path):
    [path] = example().save(tmp_path, "labels", stem="a")
    image = Image.open(path)
    labels = np.asarray(image)
    assert path.name == "a_labels.png" and image.mode == "P"
    assert labels[6, 6] == 2 and labels[12, 12] == 0 and labels[35, 5] == 3
    assert image.convert("RGB").getpixel((6, 6)) == category_colors(VOCABULARY)[1]


def test_each_segment_is_a_black_and_white_image(tmp_path):
    [folder] = example().save(tmp_path, "segments", stem="a")
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["001_dog.png", "002_cat.png", "003_grass_sky.png"]
    for file, segment in zip(files, example(), strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), segment.mask * 255)


def test_masks_of_an_earlier_result_disappear(tmp_path):
    example().save(tmp_path, "segments", stem="a")
    [folder] = example()[:1].save(tmp_path, "segments", stem="a")
    assert [file.name for file in folder.iterdir()] == ["001_dog.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["a_segments"]
