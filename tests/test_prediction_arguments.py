"""Arguments of predictions of another type, or whose parts do not fit together, are one sentence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from masqclip_d2.prediction_arguments import checked_background, checked_count, checked_share, require_encoded
from masqclip_d2.structures import EncodedImage, MaskProposals
from tests.helpers import tiny_predictor


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), torch.tensor(0.5), np.array(0.5), True])
def test_numbers_of_any_library(value):
    assert checked_share("share", value) == float(value)
    assert checked_count("count", np.int64(3)) == 3


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: checked_share("share", None), "share is None of type NoneType; expected a number in"),
        (lambda: checked_share("share", [0.5]), "share is .* of type list"),
        (lambda: checked_share("share", torch.zeros(2)), "share is .* of type Tensor"),
        (lambda: checked_share("share", float("nan")), "share must lie in .*, got nan"),
        (lambda: checked_count("count", 2.0), "count is 2.0 of type float; expected a whole number"),
        (lambda: checked_count("count", True), "count is True of type bool"),
        (lambda: checked_count("count", 0), "count is 0; expected at least 1"),
        (lambda: checked_background({"a": 1}), "background_prompts is of type dict"),
        (lambda: checked_background(b"a"), "background_prompts is of type bytes"),
    ],
)
def test_other_values_are_one_sentence(check, message):
    with pytest.raises((TypeError, ValueError), match=message):
        check()


def encoded_image():
    proposals = MaskProposals(torch.zeros(2, 3, 4), torch.ones(2), (6, 8))
    return EncodedImage(torch.ones(2, 5), proposals, (6, 8), image=np.zeros((6, 8, 3), np.uint8))


def proposals_with(**changes):
    found = encoded_image().proposals
    for name, value in changes.items():
        setattr(found, name, value)
    return {"proposals": found}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_embeddings": None}, "mask_embeddings is a NoneType, expected a float tensor of 2 dimensions"),
        ({"mask_embeddings": torch.ones(5)}, r"mask_embeddings has shape \(5,\) and is of"),
        ({"mask_embeddings": torch.ones(3, 5)}, "it has 3 mask_embeddings, 2 masks and 2 object_scores"),
        ({"mask_embeddings": torch.ones(2, 4)}, "mask_embeddings have 4 values, those of this model have 5"),
        ({"proposals": None}, "proposals is of type NoneType"),
        (proposals_with(mask_logits=None), "mask_logits is a NoneType"),
        (proposals_with(mask_logits=torch.zeros(1, 3, 4)), "1 masks"),
        (
            proposals_with(object_scores=torch.ones(2, dtype=torch.int64)),
            r"object_scores has shape \(2,\) and is of dtype torch.int64, expected",
        ),
        ({"output_hw": (6.0, 8.0)}, "output_hw is"),
        ({"output_hw": (6, 9)}, r"its image is no array of shape \(6, 9, 3\)"),
    ],
)
def test_an_encoded_image_whose_parts_do_not_fit(changes, message):
    require_encoded(encoded_image(), 5)
    with pytest.raises(ValueError, match=f"^The encoded image is damaged: .*{message}"):
        require_encoded(replace(encoded_image(), **changes), 5)


def test_a_predictor_checks_its_arguments(tmp_path):
    predictor = tiny_predictor(tmp_path, "MaskCLIP")
    encoded = predictor.encode(np.zeros((6, 8, 3), np.uint8))
    for name, value in (("background_prompts", 5), ("unknown_threshold", "0.5"), ("confidence_threshold", None)):
        with pytest.raises(TypeError, match=f"^{name} is "):
            predictor.predict(encoded, "a", **{name: value})
    damaged = replace(encoded, mask_embeddings=encoded.mask_embeddings[:, 1:])
    for call in (predictor.predict, predictor.class_probs):
        assert call(encoded, "a") is not None
        with pytest.raises(ValueError, match="mask_embeddings have 15 values, those of this model have 16"):
            call(damaged, "a")
