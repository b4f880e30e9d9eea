"""The sample images and the names of the demo are those of the written rule."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.batch.inputs import SAMPLES
from projects.figures.samples import MIN_SIZE, main, sample_scenes, vocabulary

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def scenes():
    return sample_scenes()


def test_the_package_holds_the_scenes_of_the_rule(scenes):
    files = sorted(SAMPLES.glob("*.png"))
    assert len(files) == len(scenes)
    for path, scene in zip(files, scenes, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), scene.image), path


def test_the_rule_is_about_the_number_and_size_of_things(scenes):
    for scene in scenes:
        sizes = [segment.object_size for segment in scene.segments if segment.category.isthing]
        assert 2 <= len(sizes) <= 4 and min(sizes) >= MIN_SIZE


def test_the_makefile_has_the_names_that_occur(scenes):
    things, stuff = vocabulary(scenes)
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^VOCABULARY := (.*)$", makefile, re.M)[1] == things
    assert re.search(r"^STUFF := (.*)$", makefile, re.M)[1] == stuff


def test_the_command_writes_the_images_and_prints_the_names(tmp_path, capsys, scenes):
    main(["--output", str(tmp_path)])
    assert len(list(tmp_path.glob("shapes_*.png"))) == len(scenes)
    assert capsys.readouterr().out.startswith("VOCABULARY := dotted cross,")
