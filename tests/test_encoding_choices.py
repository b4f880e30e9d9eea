"""The choices of docs/models.md, "Encoding choices", each through `Predictor` and the demo with the presets' settings.

The presets have small networks with random weights here; what a choice is worth is measured elsewhere.
"""

import json

import pytest
import torch
from PIL import Image

from masqclip_d2 import Predictor
from masqclip_d2.cli.demo import main
from tests.helpers import TINY_CLIP, TINY_PROPOSER, random_image

SMALL = [
    *TINY_PROPOSER, "MODEL.BACKBONE.NAME", "TinyBackbone", "MODEL.SEM_SEG_HEAD.CONVS_DIM", "64",
    "MODEL.SEM_SEG_HEAD.MASK_DIM", "64", "MODEL.MASK_FORMER.HIDDEN_DIM", "64", "MODEL.MASK_FORMER.NHEADS", "4",
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0",
    "MODEL.WEIGHTS", "", "MODEL.MASQCLIP.CLIP.NAME", "", "INPUT.MIN_SIZE_TEST", "64",
    "MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS", "",  # random weights would prefer one of so many
]  # fmt: skip
CLIP, TEXT = "MODEL.MASQCLIP.CLIP.", "MODEL.MASQCLIP.TEXT."
OF_IMAGES = {
    "value pooling": ["MODEL.META_ARCHITECTURE", "ValuePooling"],
    "tiles": [CLIP + "TILES", "2"],
    "square tiles": [CLIP + "SQUARE_TILES", "True"],
    "value pooling in square tiles": ["MODEL.META_ARCHITECTURE", "ValuePooling", CLIP + "SQUARE_TILES", "True"],
    "antialias": [CLIP + "ANTIALIAS", "True"],
}
OF_TEXTS = {
    "bare names": [TEXT + "TEMPLATES", "name"],
    "other templates": [TEXT + "TEMPLATES", "vild_14"],
    "first name": [TEXT + "ENSEMBLE", "first"],
    "mean of synonyms": [TEXT + "ENSEMBLE", "mean"],
}
ORDERS = ("dog|puppy|hound,ball", "puppy|dog|hound,ball")
WORDS = {"vocabulary": ORDERS[0], "stuff": "grass,sky"}


@pytest.fixture(scope="module", params=["photos/photos", "photos/photos_eva"])
def preset(request, tmp_path_factory):
    """(name of the configuration, overrides that make it small)."""
    folder = tmp_path_factory.mktemp("clip")
    changes = {"context_length": 77} | ({"vision_kind": "eva02"} if request.param.endswith("eva") else {})
    (folder / "clip.json").write_text(json.dumps({**TINY_CLIP, **changes}))
    return request.param, [*SMALL, CLIP + "ARCHITECTURE", str(folder / "clip.json")]


@pytest.fixture(scope="module")
def base(preset):
    name, opts = preset
    torch.manual_seed(0)
    return Predictor(name, opts=opts)


def with_choice(base, preset, choice, dtype="fp32") -> Predictor:
    """The preset with a choice, and the same weights."""
    name, opts = preset
    other = Predictor(name, opts=[*opts, *choice], dtype=dtype)
    other.model.load_state_dict(base.model.state_dict())
    return other


def oblong() -> Image.Image:
    return Image.fromarray(random_image(64, 200).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("choice", OF_IMAGES.values(), ids=OF_IMAGES)
def test_choices_of_the_image(base, preset, choice):
    other = with_choice(base, preset, choice)
    # A mask in the left fifth, which a tile contains, and one of everything.
    masks = torch.zeros(2, 64, 200, dtype=torch.bool)
    masks[0, 10:40, 5:40], masks[1] = True, True
    expected, found = (one.encode(oblong(), masks=masks.numpy()).mask_embeddings for one in (base, other))
    assert found.shape == expected.shape and (found[0] - expected[0]).abs().max() > 1e-3
    if "tiles" in " ".join(choice).lower() and "ValuePooling" not in choice:
        torch.testing.assert_close(found[1], expected[1])  # no tile contains it
    segmentation = other(oblong(), **WORDS)
    assert segmentation.segments and {segment.label for segment in segmentation.segments} <= {
        "dog", "ball", "grass", "sky"
    }  # fmt: skip


def test_value_pooling_in_square_tiles_in_half_precision(base, preset, monkeypatch):
    monkeypatch.setattr("masqclip_d2.precision.bfloat16_is_native", lambda: True)  # slow elsewhere, but it runs
    masks = torch.zeros(3, 64, 200, dtype=torch.bool)
    masks[0, 10:40, 5:40], masks[1], masks[2, :, 150:] = True, True, True
    expected, found = (
        with_choice(base, preset, OF_IMAGES["value pooling in square tiles"], dtype)
        .encode(oblong(), masks=masks.numpy())
        .mask_embeddings
        for dtype in ("fp32", "bf16")
    )
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    assert torch.cosine_similarity(found, expected, dim=-1).min() > 0.99


@pytest.mark.parametrize("choice", OF_TEXTS.values(), ids=OF_TEXTS)
def test_choices_of_the_texts(base, preset, choice):
    """The presets have 80 templates and the best synonym; another choice changes scores, not the encoded image."""
    other = with_choice(base, preset, choice)
    encoded = base.encode(oblong())
    torch.testing.assert_close(other.encode(oblong()).mask_embeddings, encoded.mask_embeddings)
    found, expected = (torch.stack([one.class_probs(encoded, names) for names in ORDERS]) for one in (other, base))
    assert (found - expected).abs().max() > 1e-4


def test_the_best_synonym_never_has_less_than_the_name(base):
    encoded = base.encode(oblong())
    ensembles = torch.stack([base.class_probs(encoded, names)[:, 0] for names in ORDERS])
    alone = torch.stack([base.class_probs(encoded, f"{name},ball")[:, 0] for name in ("dog", "puppy")])
    torch.testing.assert_close(ensembles[0], ensembles[1])  # whichever is the name
    assert (ensembles >= alone - 1e-6).all() and (ensembles > alone + 1e-6).any()


def test_all_choices_in_the_demo(preset, tmp_path):
    name, opts = preset
    oblong().save(tmp_path / "panorama.png")
    chosen = [*OF_IMAGES["value pooling in square tiles"], *OF_TEXTS["other templates"], *OF_TEXTS["mean of synonyms"]]
    words = ["--vocab", WORDS["vocabulary"], "--stuff", WORDS["stuff"], "--input", str(tmp_path / "panorama.png")]
    main(["--config-file", name, *words, "--output", str(tmp_path / "out"), "--opts", *opts, *chosen])
    answer = json.loads((tmp_path / "out" / "panorama.json").read_text())
    assert (answer["width"], answer["height"]) == (200, 64) and answer["segments"]
