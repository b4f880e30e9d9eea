"""Public functions with odd arguments."""

import functools
import json

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from masqclip_d2 import Predictor, Vocabulary
from masqclip_d2.evaluation.panoptic_quality import PanopticQuality
from masqclip_d2.fusion import ClassScores, instance_inference, panoptic_inference, semantic_inference
from masqclip_d2.mask_inputs import as_mask_proposals

from .answers import answered
from .strategies import TEXTS, VALUES, arrays, changed_json

WORDS = st.sampled_from([*TEXTS, "plain circle", "grass", "dog. cat.", "a,b", "ab" * 400]) | st.text(max_size=12)
SIDE = 24


@functools.cache
def predictor():
    return Predictor(device="cpu")


@functools.cache
def encoded():
    return predictor().encode(np.full((SIDE, SIDE, 3), 128, np.uint8))


@given(WORDS | st.lists(WORDS | st.sampled_from(VALUES), max_size=4), WORDS | st.lists(WORDS, max_size=2))
def test_vocabulary(names, stuff):
    with answered(TypeError):
        vocabulary = Vocabulary.from_names(names, stuff)
        assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary


@given(changed_json(Vocabulary.from_names("cat,dog/hound", "grass").to_dict()))
def test_vocabulary_of_a_dictionary(entries):
    with answered(TypeError):
        Vocabulary.from_dict(entries)


SHAPES = [(SIDE, SIDE, 3), (SIDE, SIDE), (SIDE, SIDE, 4), (3, SIDE, SIDE), (1, 1, 3), (0, 4, 3), (2, 90, 3), (5,), ()]


@given(arrays(SHAPES))
def test_images(pixels):
    with answered(TypeError):
        result = predictor()(pixels, "plain circle,grass", "grass")
        assert result.label_map().shape == pixels.shape[:2]


@given(st.sampled_from(["L", "1", "P", "RGBA", "I;16", "F", "CMYK", "LAB", "LA", "I"]), st.sampled_from([1, 2, 30]))
def test_images_of_pillow(mode, side):
    with answered(TypeError):
        assert predictor()(Image.new(mode, (side, 3)), "plain circle", task="semantic").label_map().shape == (3, side)


@given(arrays([(SIDE, SIDE), (2, SIDE, SIDE), (0, SIDE, SIDE), (1, SIDE, 5), (2, 1, SIDE, SIDE), (), (3,)]))
def test_own_masks(masks):
    with answered(TypeError):
        found = as_mask_proposals(masks, (SIDE, SIDE))
        assert found.image_hw == (SIDE, SIDE)


@given(changed_json([{"segmentation": {"size": [SIDE, SIDE], "counts": [3, 40, 533]}, "predicted_iou": 0.5}]))
def test_own_masks_as_dictionaries(masks):
    with answered(TypeError):
        assert as_mask_proposals(masks, (SIDE, SIDE)).image_hw == (SIDE, SIDE)


NUMBERS = st.sampled_from([0.0, 0.5, 1.0, -1.0, 2.0, float("nan"), float("inf"), None, "0.5", True])


@given(WORDS, st.sampled_from(["panoptic", "instance", "semantic", "", None, 3]), NUMBERS, NUMBERS, WORDS)
def test_predict(names, task, threshold, unknown_threshold, background):
    with answered(TypeError):
        result = predictor().predict(
            encoded(), names, task=task, confidence_threshold=threshold,
            background_prompts=background, unknown_threshold=unknown_threshold,
        )  # fmt: skip
        assert result.label_map().shape == (SIDE, SIDE)
        json.dumps(result.to_dict(), allow_nan=False)
        assert result.draw().ndim == 3


DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
FILLS = st.sampled_from([0.0, 0.5, 1.0, -5.0, 30.0, float("nan"), float("inf"), float("-inf")])


@given(
    st.integers(0, 4), st.integers(0, 3), st.integers(0, 4), st.sampled_from([0, 1, 7]), DTYPES,
    st.sampled_from([0.0, 0.5, 1.0]), FILLS, st.integers(0, 4),
)  # fmt: skip
def test_fusion(queries, categories, masks, side, dtype, prob, logit, things):
    torch.manual_seed(0)
    probs = torch.rand(queries, categories).to(dtype)
    logits = torch.randn(masks, side, side).to(dtype)
    if probs.numel() and logits.numel():
        probs.view(-1)[0], logits.view(-1)[0] = torch.tensor([prob, logit]).nan_to_num(0).to(dtype)  # 0 for NaN
    is_thing = [index % 2 == 0 for index in range(things)]
    with answered(TypeError):
        assert semantic_inference(probs, logits).shape == (categories, side, side)
    with answered(TypeError):
        ids, segments = panoptic_inference(ClassScores(probs), logits, is_thing, 0.3, 0.5)
        assert ids.shape == (side, side) and set(ids.unique().tolist()) - {0} == {each["id"] for each in segments}
    with answered(TypeError):
        found = instance_inference(probs, logits, is_thing, topk=5)
        assert len(found) <= 5 and bool(torch.isfinite(found.scores).all())


_SEGMENTS = [{"id": 1, "category_id": 1, "area": 8, "iscrowd": 0}, {"id": 2, "category_id": 2, "area": 8}]


@given(changed_json(_SEGMENTS), changed_json(_SEGMENTS), st.integers(0, 3))
def test_panoptic_quality(truth, predicted, last):
    id_map = np.repeat([1, 2], 8).reshape(4, 4)
    other = id_map.copy()
    other[-1, -1] = last
    quality = PanopticQuality([1, 2])
    with answered(TypeError):
        quality.add_image(id_map, truth, other, predicted)
        assert 0 <= quality.result()["pq"] <= 1
