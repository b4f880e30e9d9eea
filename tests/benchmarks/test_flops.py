"""benchmarks/flops.py counts every operation once, and fails if it does not."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from masqclip_d2.clip.vision_transformer import ClipVisionTransformer
from masqclip_d2.visual_encoder import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.relative_mask_attention import attentions_with_rma
from tests.forked import run_python

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "flops.py"


@pytest.fixture(scope="module")
def flops():
    spec = importlib.util.spec_from_file_location("flops", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["flops"] = module  # dataclasses need their module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["flops"]


@pytest.fixture
def sizes(flops):
    return flops.Sizes(
        resolution=24, patch_size=8, width=30, layers=5, heads=3, mlp_width=70, output_dim=14, num_masks=7
    )


def count(flops, sizes):
    with torch.device("meta"), torch.no_grad():
        return flops.methods(sizes)


def test_counts_are_the_formulas_to_the_last_flop(flops, sizes):
    for odd in (sizes, replace(sizes, num_masks=1), replace(sizes, resolution=40, heads=5), replace(sizes, layers=2)):
        without = flops.mask_class_token_flops(odd)
        expected = [flops.baseline_flops(odd), without, without + flops.rma_flops(odd)]
        assert list(count(flops, odd).values()) == expected


def test_formula_by_hand(flops):
    """A tower of one block and one patch of one pixel, width 1: two tokens."""
    one = flops.Sizes(resolution=1, patch_size=1, width=1, layers=1, heads=1, mlp_width=4, output_dim=1, num_masks=1)
    # patch 3; norm before 2 * 5; block: projections 4 * 2, attention 2 * 4, MLP 2 * 8, norms 2 * 10
    assert flops.image_flops(one) == 3 + 10 + 8 + 8 + 16 + 20
    assert flops.embedding_flops(one) == 5 + 1
    # query and output 2, attention 2 * 2, MLP 8, norms 10, and an embedding
    assert flops.mask_class_token_flops(one) == 65 + 6 + 2 + 4 + 8 + 10 + 6
    # key 1, Gram matrix 4, direction 2, quadratic and linear part 1 + (1 + 1), refinement 1
    assert flops.rma_flops(one) == 1 + 4 + 2 + 3 + 1


def test_published_counts_of_the_same_towers(flops, monkeypatch):
    """open_clip's docs/model_profile.csv, whose GFLOPs count two per multiply-add and ignore norms."""
    monkeypatch.setattr(flops, "NORM", 0)
    sizes = flops.Sizes(
        resolution=224, patch_size=14, width=1024, layers=24, heads=16, mlp_width=4096, output_dim=768, num_masks=100
    )
    for resolution, gflops in ((224, 162.03), (336, 381.92)):
        count = flops.baseline_flops(replace(sizes, resolution=resolution)) / sizes.num_masks
        assert 2 * count / 1e9 == pytest.approx(gflops, abs=0.01)


def test_nothing_is_lost_on_the_meta_device(flops, sizes):
    """The count of the original tower, with its convolution and values, is the same."""
    visual = ClipVisionTransformer(
        input_resolution=24, patch_size=8, width=30, layers=5, heads=3, mlp_width=70, output_dim=14
    )
    encoder = MaskClassTokenEncoder(visual, attentions_with_rma(visual, sizes.rma_layers))
    with torch.no_grad():
        assert flops.counted(encoder, sizes) == count(flops, sizes)[flops.WITH_RMA]
    image = torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(flops.PatchEmbedding(visual.conv1)(image), visual.conv1(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("operation", ["aten::scaled_dot_product_attention", "prim::PythonOp._MaskRefinement"])
def test_an_unknown_operation_is_an_error(flops, sizes, operation, monkeypatch):
    monkeypatch.delitem(flops.HANDLES, operation)
    with pytest.raises(ValueError, match=f"without a handle: {operation}"):
        count(flops, sizes)


@pytest.mark.parametrize("operation", ["scaled_dot_product_attention", "linear", "matmul"])
def test_a_missing_operation_is_an_error(flops, sizes, operation, monkeypatch):
    monkeypatch.setitem(flops.HANDLES, f"aten::{operation}", lambda inputs, outputs: 0)
    with pytest.raises(ValueError, match="by formula"):
        count(flops, sizes)


def test_the_script_prints_the_table():
    done = run_python([SCRIPT, "--model", "shapes-tiny", "--resolutions", "30", "--num-masks", "3"])
    assert done.returncode == 0, done.stderr
    assert "shapes-tiny, 3 masks, torch" in done.stdout
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert [len(row) for row in rows] == [3] * 5
    assert rows[0][1] == "CLIP at 24 px"  # three whole patches of 8
    baseline, without, with_rma = (float(row[1]) for row in rows[2:])
    assert without < with_rma < baseline
    assert "published" not in done.stdout.split("\n\n")[-1]  # published for ViT-L/14 only


def test_a_wrong_model_is_a_short_error():
    done = run_python([SCRIPT, "--model", "ViT-XXL"])
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: CLIP architecture 'ViT-XXL'")
