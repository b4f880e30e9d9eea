"""Lists of images of several types through the predictor."""

import numpy as np
import pytest
import torch
from PIL import Image

from masqclip_d2 import Predictor
from tests.helpers import TINY_PROPOSER, tiny_clip_file


def test_a_list_of_images_has_a_list_of_results(tmp_path):
    clip = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path))]
    predictor = Predictor("base/shapes", opts=[*TINY_PROPOSER, "MODEL.META_ARCHITECTURE", "MaskCLIP", *clip])
    image = np.random.default_rng(1).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    images = [image, Image.fromarray(image[:20]), torch.from_numpy(image).permute(2, 0, 1)]
    found = predictor(images, "a,b", task="semantic")
    assert [one.image.shape for one in found] == [image.shape, image[:20].shape, image.shape]
    alone = predictor(image, "a,b", task="semantic")
    assert np.array_equal(found[0].label_map(), alone.label_map())
    assert np.array_equal(found[2].label_map(), alone.label_map())
    assert predictor([], "a") == [] and len(predictor.encode(images)) == 3
    with pytest.raises(ValueError, match="masks belong to one image"):
        predictor(images, "a", masks=np.ones((1, 33, 47), dtype=bool))
