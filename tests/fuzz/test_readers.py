"""Files with a few changed bytes or values."""

import io
import json
import pickle
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from masqclip_d2 import load_config, load_vocabulary
from masqclip_d2.checkpoint import read_checkpoint
from masqclip_d2.data.images import read_image
from masqclip_d2.data.label_maps import read_label_map, read_panoptic_png
from masqclip_d2.image_files import image_size
from masqclip_d2.proposer.mask_files import masks_of_file_entries, read_mask_file

from .answers import answered
from .strategies import VALUES, changed_bytes, changed_json

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(3, dtype=torch.float16)}


def _saved_by_torch(**options):
    buffer = io.BytesIO()
    torch.save({"model": TENSORS, "iteration": 3}, buffer, **options)
    return buffer.getvalue()


_ARRAYS = {"model": {name: value.numpy() for name, value in TENSORS.items()}, "__author__": "test"}
CHECKPOINTS = {
    ".pth": [_saved_by_torch(), _saved_by_torch(_use_new_zipfile_serialization=False)],
    ".pkl": [pickle.dumps(_ARRAYS, protocol) for protocol in (0, 2, 5)],
    ".safetensors": [safetensors.torch.save(TENSORS, {"made": "by a test"})],
}


@pytest.mark.parametrize("suffix", CHECKPOINTS)
@given(data=st.data())
def test_weights(suffix, data, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data.draw(changed_bytes(CHECKPOINTS[suffix])))
    with answered(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_checkpoint(path)
        assert isinstance(found, dict)


CONFIG = b"""\
_BASE_: masqclip_r50.yaml
MODEL:
  WEIGHTS: ""
  MASQCLIP:
    CLIP: {NAME: "ViT-B/16"}
    TEST: {OBJECT_SCORE: true}
  PIXEL_MEAN: [1.0, 2.0, 3.0]
SOLVER: {BASE_LR: 1.0e-4, MAX_ITER: 10, STEPS: (5, 8)}
DATASETS: {TRAIN: ("coco_2017_train",)}
VERSION: 2
"""


@given(changed_bytes([CONFIG]))
def test_configurations(content):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_bytes(content)
        with answered():
            load_config(path)


VOCABULARY = {
    "categories": [{"name": "cat", "synonyms": ["kitty"], "isthing": True, "color": [1, 2, 3]}, "grass"],
    "groups": {"base": ["cat"]},
    "templates": ["a photo of a {}."],
}


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".txt"])
@given(data=st.data())
def test_vocabularies(suffix, data, tmp_path):
    path = tmp_path / f"words{suffix}"
    text = json.dumps(VOCABULARY)
    if suffix == ".json" and data.draw(st.booleans()):
        path.write_text(json.dumps(data.draw(changed_json(VOCABULARY))), encoding="utf-8")
    else:
        path.write_bytes(data.draw(changed_bytes([text.encode(), b"cat\ndog: [hound]\n"])))
    with answered():
        vocabulary = load_vocabulary(path)
        assert len(vocabulary.names) >= 1


def _image_file(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


_COLORS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
_LABELS = np.random.default_rng(1).integers(0, 5, (24, 20), dtype=np.uint8)
_TURNED = Image.Exif()
_TURNED[0x0112] = 6
IMAGES = [
    _image_file(_COLORS, "PNG"), _image_file(_COLORS, "JPEG", exif=_TURNED), _image_file(_COLORS, "WEBP"),
    _image_file(_COLORS, "TIFF"), _image_file(_LABELS, "GIF"), _image_file(_LABELS, "PNG"),
    _image_file(_LABELS.astype(np.uint16), "PNG"), _image_file(_COLORS, "BMP"),
]  # fmt: skip


@pytest.mark.parametrize("read", [read_image, read_label_map, read_panoptic_png, image_size], ids=lambda f: f.__name__)
@given(content=changed_bytes(IMAGES))
def test_images(read, content, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with answered(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read(path) is not None


MASK_ENTRIES = [
    {"segmentation": {"size": [24, 20], "counts": [10, 20, 450]}, "score": 0.5},
    {"segmentation": [[1, 1, 9, 1, 9, 9]], "predicted_iou": 0.5, "bbox": [1, 1, 8, 8]},
]


@given(changed_json(MASK_ENTRIES))
def test_masks_of_a_file(entries):
    with answered(TypeError):
        masks_of_file_entries(json.loads(json.dumps(entries)), (24, 20), "masks.json")


@pytest.mark.parametrize("suffix", [".json", ".png", ".npy", ".npz"])
@given(data=st.data())
def test_mask_files(suffix, data, tmp_path):
    path = tmp_path / f"masks{suffix}"
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, _LABELS == 1)
    np.savez(archive, masks=_LABELS[None] == 1)
    contents = {
        ".json": [json.dumps(MASK_ENTRIES).encode()],
        ".png": IMAGES[-3:-1],
        ".npy": [array.getvalue()],
        ".npz": [archive.getvalue()],
    }[suffix]
    path.write_bytes(data.draw(changed_bytes(contents)))
    with answered():
        read_mask_file(path, (24, 20))


ODD_KEYS = st.sampled_from(["", " ", "MODEL", "MODEL.", "MODEL.WEIGHTS", "SOLVER.BASE_LR", "SOLVER.STEPS", "VERSION",
                            "MODEL.MASQCLIP.CLIP.NAME", "INPUT.MIN_SIZE_TEST", "a.b", "_BASE_", "."])  # fmt: skip


@given(st.lists(ODD_KEYS | st.sampled_from([str(value) for value in VALUES]), max_size=5))
def test_overrides(words):
    with answered():
        load_config("shapes/masqclip", words)
