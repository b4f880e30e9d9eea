"""Models that cannot be exported are refused in one sentence; names and sizes of the others."""

from __future__ import annotations

import pytest

from masqclip_d2.export.parts import build_part
from tests.helpers import tiny_predictor

REFUSED = {
    "ground truth": (
        "MaskCLIP", "proposer", "The proposer GroundTruthProposer cannot be exported, only Mask2FormerProposer can",
        ["MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth"],
    ),
    "baseline": ("ClipBaseline", "classifier", "The CLIP baseline cannot be exported", []),
    "tiles": ("MaskCLIP", "whole", "in tiles cannot be exported", ["MODEL.MASQCLIP.CLIP.TILES", "2"]),
    "padding": ("MaskCLIP", "whole", "PADDING 'batch' cannot be exported", ["MODEL.MASQCLIP.PADDING", "batch"]),
    "two embeddings": (
        "MasQCLIP", "classifier", "UNTUNED_WEIGHTS cannot be exported",
        ["MODEL.MASQCLIP.TEST.UNTUNED_WEIGHTS", "[0.2, 0.6]"],
    ),
    "unknown part": ("MaskCLIP", "head", "There is no part 'head'", []),
}  # fmt: skip


@pytest.mark.parametrize("architecture, part, message, opts", REFUSED.values(), ids=REFUSED)
def test_refusals(tmp_path, architecture, part, message, opts):
    predictor = tiny_predictor(tmp_path, architecture, *opts)
    with pytest.raises(ValueError, match=message):
        build_part(part, predictor.model)


def test_other_proposers_leave_the_classifier(tmp_path):
    predictor = tiny_predictor(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth")
    assert build_part("classifier", predictor.model).name == "classifier"


def test_names_and_free_sizes(tmp_path):
    part = build_part("classifier", tiny_predictor(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.RMA.LAYERS", "[1]").model)
    assert [tensor.name for tensor in part.inputs] == ["image", "mask_logits", "mask_extent", "text_embeddings"]
    assert [tensor.shape for tensor in part.outputs] == [("masks", "texts"), ("masks", 32, 32)]
    shapes = part.dynamic_shapes()
    assert {name: sorted(axes) for name, axes in shapes.items()} == {
        "image": [0, 1], "mask_logits": [0, 1, 2], "mask_extent": [], "text_embeddings": [0],
    }  # fmt: skip
