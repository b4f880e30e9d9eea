import pytest
import torch

from masqclip_d2.fusion import MaskView, semantic_labels_and_background
from masqclip_d2.ops.semantic_labels import WeightedMasks, operator, score_maps, semantic_labels

SIZES = {  # low, padded, image, output
    "enlarged, as the image": ((8, 9), (32, 36), (30, 33), (30, 33)),
    "enlarged, then resized": ((8, 8), (32, 32), (32, 29), (17, 41)),
    "one size": ((5, 3), (5, 3), (5, 3), (5, 3)),
    "reduced twice": ((24, 20), (13, 16), (13, 15), (7, 9)),
    "a pixel": ((1, 1), (4, 4), (1, 1), (1, 1)),
    "a row of two tiles": ((3, 40), (3, 40), (2, 40), (1, 130)),
}


def view_of(num_masks=7, columns=(5,), sizes="enlarged, then resized", flipped=False):
    torch.manual_seed(0)
    low_hw, padded_hw, image_hw, output_hw = SIZES[sizes]
    weights = tuple((2 * torch.randn(num_masks, number)).softmax(-1) for number in columns)
    return WeightedMasks(4 * torch.randn(num_masks, *low_hw), weights, padded_hw, image_hw, flipped), output_hw


def assert_exact(view, output_hw):
    """Scores as in float32, and the reference's labels except where two scores are equal up to rounding."""
    exact = view._replace(mask_logits=view.mask_logits.double(), weights=tuple(one.double() for one in view.weights))
    for group, (labels, scores) in enumerate(semantic_labels([view], output_hw, implementation="triton")):
        maps = score_maps([exact], output_hw, True, group)
        assert labels.dtype == (torch.int64, torch.int32)[group] and labels.shape == scores.shape == output_hw
        torch.testing.assert_close(scores, maps.amax(0), atol=1e-7, rtol=4e-6)
        chosen = maps.gather(0, labels.long()[None])[0]
        assert (maps.amax(0) - chosen <= 4e-6 * maps.amax(0)).all()


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_equals_the_reference(sizes, flipped):
    assert_exact(*view_of(sizes=sizes, flipped=flipped))


@pytest.mark.parametrize(
    "num_masks, columns",
    [(1, (1,)), (16, (64,)), (17, (65,)), (40, (130, 3)), (100, (150,)), (300, (70, 64)), (420, (33,))],
    ids=str,
)
def test_numbers_of_masks_and_columns(num_masks, columns):
    assert_exact(*view_of(num_masks, columns, "enlarged, as the image"))


def test_blocks_hold_all_masks_with_little_padding():
    blocks = {number: operator._blocks(number) for number in range(1, 513)}
    for number, (block, rest) in blocks.items():
        assert number <= block + rest <= max(16, 2 * number) and block >= 16 and rest in (0, 16, 32, 64, 128)
    assert blocks[100] == (128, 0) and blocks[300] == (256, 64) and blocks[16] == (16, 0) and blocks[20] == (32, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype):
    view, output_hw = view_of(20, (30,))
    assert_exact(view._replace(mask_logits=view.mask_logits.to(dtype), weights=(view.weights[0].to(dtype),)), output_hw)


def test_small_scores_keep_their_digits():
    """10,000 categories share the probability, so that scores are near the smallest numbers of float16."""
    view, output_hw = view_of(20, (40,))
    assert_exact(view._replace(weights=(view.weights[0] * 1e-5,)), output_hw)


def test_ties_give_the_lowest_label():
    view, output_hw = view_of(3)
    weights = torch.full((3, 200), 0.25)
    weights[:, [77, 140, 141]] = 0.5
    [(labels, _)] = semantic_labels([view._replace(weights=(weights,))], output_hw, implementation="triton")
    assert (labels == 77).all()
    [(labels, scores)] = semantic_labels(
        [view._replace(weights=(torch.zeros(3, 200),))], output_hw, implementation="triton"
    )
    assert not labels.any() and not scores.any()


def test_no_masks():
    view, output_hw = view_of(0, (5, 4))
    for labels, scores in semantic_labels([view], output_hw, implementation="triton"):
        assert labels.shape == output_hw and not labels.any() and not scores.any()


def test_infinite_logits():
    view, output_hw = view_of(sizes="one size")
    view.mask_logits[0], view.mask_logits[1] = float("inf"), -float("inf")
    assert_exact(view, output_hw)


def test_masks_that_are_not_contiguous():
    view, output_hw = view_of()
    strided = view._replace(
        mask_logits=view.mask_logits.transpose(1, 2).contiguous().transpose(1, 2),
        weights=(view.weights[0].T.contiguous().T,),
    )
    (found,), (expected,) = (semantic_labels([each], output_hw, implementation="triton") for each in (strided, view))
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_fusion_with_background_prompts(monkeypatch):
    torch.manual_seed(0)
    view = MaskView(torch.rand(7, 9), torch.randn(7, 8, 8), (32, 32), (32, 29), True, torch.rand(7, 50))
    results = []
    for implementation in ("triton", "reference"):
        monkeypatch.setenv("MASQCLIP_OPS", implementation)
        results.append(semantic_labels_and_background([view], (17, 41)))
    for (labels, scores), (expected, expected_scores) in zip(*results, strict=True):
        torch.testing.assert_close(scores, expected_scores)
        assert (labels == expected).float().mean() > 0.99 and labels.dtype == expected.dtype


def test_the_operator_is_registered_completely():
    view, output_hw = view_of(3, (5, 4))
    arguments = (view.mask_logits, list(view.weights), view.padded_hw, view.image_hw, True, output_hw)
    torch.library.opcheck(torch.ops.masqclip.semantic_labels.default, arguments)


def test_the_operator_has_no_gradients():
    view, output_hw = view_of(3)
    masks = view.mask_logits.requires_grad_()
    _, scores = torch.ops.masqclip.semantic_labels(
        masks, list(view.weights), view.padded_hw, view.image_hw, False, output_hw
    )
    with pytest.raises(RuntimeError, match="no autograd formula"):
        scores.sum().backward()


def test_meta_tensors():
    view, output_hw = view_of(3)
    labels, scores = torch.ops.masqclip.semantic_labels(
        view.mask_logits.to("meta"), [view.weights[0].to("meta")], view.padded_hw, view.image_hw, False, output_hw
    )
    assert labels.shape == scores.shape == (1, *output_hw) and labels.is_meta


class Labels(torch.nn.Module):
    def forward(self, masks, weights):
        view = WeightedMasks(masks, (weights,), (32, 32), (32, 29), True)
        [(labels, scores)] = semantic_labels([view], (17, 41), implementation="triton")
        return labels + 1, scores * 2


def test_export_with_any_number_of_masks_and_compile():
    inputs, more = ((view.mask_logits, *view.weights) for view in (view_of(3)[0], view_of(9)[0]))
    masks = torch.export.Dim("masks", min=2, max=500)
    exported = torch.export.export(Labels(), inputs, dynamic_shapes=({0: masks}, {0: masks}))
    torch.testing.assert_close(exported.module()(*more), Labels()(*more))
    compiled = torch.compile(Labels(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), Labels()(*inputs))
