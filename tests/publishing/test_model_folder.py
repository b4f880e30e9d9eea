"""Folders of published models whose CLIP has no published name."""

import shutil

import numpy as np
import pytest

from masqclip_d2 import Predictor
from masqclip_d2.checkpoint import local_weights_path
from masqclip_d2.publishing import is_model_folder


def test_a_clip_of_this_disk_is_in_the_folder(tmp_path, toy):
    predictor, image, expected = toy
    own = tmp_path / "own_clip.safetensors"
    shutil.copy(local_weights_path("masqclip://shapes_clip"), own)
    with_own = Predictor(device="cpu", opts=["MODEL.MASQCLIP.CLIP.NAME", str(own)])
    with_own.save_pretrained(tmp_path / "model", license="mit")
    own.unlink()
    found = Predictor.from_pretrained(str(tmp_path / "model"), device="cpu")
    assert str(tmp_path / "model" / "clip.safetensors") == found.cfg.MODEL.MASQCLIP.CLIP.NAME
    answer = found(image, "dotted star,plain circle", stuff="grass")
    assert np.array_equal(answer.label_map(), expected.label_map())


@pytest.mark.parametrize("name", ["photos", "hf://owner", "hf://owner/name/file.pth", "https://host/a/b"])
def test_other_names_are_no_model_folders(name):
    assert not is_model_folder(name)
