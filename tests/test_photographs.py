"""Two real COCO photographs, in the folder that MASQCLIP_COCO_SAMPLE names: reading, panoptic ground truth, demo."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from masqclip_d2.cli.demo import main
from masqclip_d2.data.images import read_image
from masqclip_d2.evaluation import rgb2id
from tests.helpers import TINY_PROPOSER, tiny_clip_file

SAMPLE = os.environ.get("MASQCLIP_COCO_SAMPLE", "")
pytestmark = [
    pytest.mark.datasets,
    pytest.mark.skipif(not Path(SAMPLE or "/nowhere").is_dir(), reason="MASQCLIP_COCO_SAMPLE names no folder"),
]


def _photographs():
    return sorted(Path(SAMPLE).glob("*.jpg"))


def test_photographs_and_their_panoptic_maps_fit():
    content = json.loads((Path(SAMPLE) / "panoptic_examples.json").read_text())
    assert len(content["annotations"]) == 2
    for annotation in content["annotations"]:
        image = read_image(Path(SAMPLE) / f"{Path(annotation['file_name']).stem}.jpg")
        ids = rgb2id(np.asarray(Image.open(Path(SAMPLE) / "panoptic" / annotation["file_name"])))
        assert image.shape == (*ids.shape, 3) and image.dtype == np.uint8
        assert {segment["id"] for segment in annotation["segments_info"]} == set(np.unique(ids)) - {0}


def test_demo_runs_on_photographs(tmp_path):
    torch.manual_seed(0)
    opts = [*TINY_PROPOSER, "MODEL.META_ARCHITECTURE", "MaskCLIP", "MODEL.MASQCLIP.CLIP.NAME", ""]
    opts += ["MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path)), "INPUT.MIN_SIZE_TEST", "160"]
    words = ["--vocab", "person,umbrella", "--stuff", "grass", "--config-file", "base/shapes", "--input", SAMPLE]
    main([*words, "--output", str(tmp_path / "out"), "--opts", *opts])
    for photograph in _photographs():
        answer = json.loads((tmp_path / "out" / f"{photograph.stem}.json").read_text())
        assert (answer["height"], answer["width"]) == read_image(photograph).shape[:2]
