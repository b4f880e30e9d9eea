"""From an empty cache to segmented photographs: `masqclip demo --model photos` with a local server for the internet.

The server has files of the released names, formats and, with MASQCLIP_FULL_SIZE=1, sizes, with random values. The
photographs are those of the folder MASQCLIP_COCO_SAMPLE, else rendered ones.
"""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from masqclip_d2.cli.demo import main
from masqclip_d2.clip import ClipArchitecture, ClipModel
from masqclip_d2.clip.model import save_clip
from masqclip_d2.config import load_config
from tests.helpers import random_image

PROPOSER = (
    "/dl.fbaipublicfiles.com/maskformer/mask2former/coco/panoptic/maskformer2_R50_bs16_50ep/model_final_94dc52.pkl"
)
CLIP = "/huggingface.co/timm/vit_large_patch14_clip_336.openai/resolve/main/open_clip_model.safetensors"
FULL_SIZE = os.environ.get("MASQCLIP_FULL_SIZE") == "1"
SMALL_CLIP = {
    "image_resolution": 42, "vision_width": 64, "vision_layers": 2, "embed_dim": 24, "text_width": 48, "text_layers": 1,
}  # fmt: skip
# Random weights are not sure of anything.
OPTS = ["MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0"]
OPTS += [] if FULL_SIZE else ["INPUT.MIN_SIZE_TEST", "160", "MODEL.DEVICE", "cpu"]


@pytest.fixture
def mirror(file_server, monkeypatch):
    """A server with the two files of the preset `photos`; OpenAI's address has none."""
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setenv("MASQCLIP_MIRROR", file_server.url)
    return file_server


def released_proposer() -> bytes:
    """Mask2Former R-50 with 133 classes in the released format and names."""
    cfg = load_config(
        "base/proposer_r50", ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "133", "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]
    )
    model = build_model(cfg)
    torch.nn.init.normal_(model.sem_seg_head.predictor.class_embed.weight, std=0.5)
    names = {
        name.replace("predictor.query_feat", "predictor.static_query"): tensor.numpy()
        for name, tensor in model.state_dict().items()
    }
    return pickle.dumps({"model": names, "__author__": "third_party"})


def released_clip(folder: Path) -> bytes:
    """The copy of ViT-L/14@336px on the Hub, smaller unless at full size."""
    large = ClipArchitecture.from_name("ViT-L/14@336px").to_dict()
    model = ClipModel(ClipArchitecture.from_dict(large if FULL_SIZE else {**large, **SMALL_CLIP}))
    save_clip(folder / "open_clip_model.safetensors", model, torch.float16)
    return (folder / "open_clip_model.safetensors").read_bytes()


def photographs(folder: Path) -> Path:
    sample = os.environ.get("MASQCLIP_COCO_SAMPLE", "")
    if sample:
        return Path(sample)
    (folder / "photographs").mkdir()
    for index, sides in enumerate([(160, 240), (200, 150)]):
        Image.fromarray(random_image(*sides).permute(1, 2, 0).numpy()).save(folder / f"photographs/{index}.jpg")
    return folder / "photographs"


def segments_of_demo(folder: Path, output: Path) -> dict[str, list]:
    """Segments of each photograph in the JSON, after comparing them with the label map."""
    words = ["--model", "photos", "--input", str(folder), "--vocab", "dog|puppy,ball", "--stuff", "grass,sky"]
    words += ["--unknown-threshold", "0"]  # by chance, background prompts would win everywhere
    main([*words, "--output", str(output), "--opts", *OPTS])
    found = {}
    for photograph in sorted(folder.glob("*.jpg")):
        answer = json.loads((output / f"{photograph.stem}.json").read_text())
        labels = np.asarray(Image.open(answer["label_map"]))
        with Image.open(photograph) as image:
            assert (answer["width"], answer["height"]) == image.size == labels.shape[1::-1]
        assert answer["vocabulary"] == ["dog", "ball", "grass", "sky"]
        areas = [sum(s["area"] for s in answer["segments"] if s["category_id"] == index) for index in range(4)]
        assert areas == [(labels == index + 1).sum() for index in range(4)]
        with Image.open(answer["visualization"]) as picture:
            assert min(picture.size) > 0
        found[photograph.stem] = answer["segments"]
    return found


@pytest.mark.slow
def test_from_nothing_to_segmented_photographs(mirror, own_cache, tmp_path, monkeypatch):
    mirror.add(PROPOSER, released_proposer())
    mirror.add(CLIP, released_clip(tmp_path))
    folder = photographs(tmp_path)
    found = segments_of_demo(folder, tmp_path / "first")
    assert len(found) == 2 and all(found.values())
    assert (own_cache / PROPOSER[1:]).is_file()
    assert len(list(own_cache.glob("hf/timm/**/open_clip_model.safetensors"))) == 1

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(mirror.requests)
    assert segments_of_demo(folder, tmp_path / "second") == found
    assert len(mirror.requests) == asked
