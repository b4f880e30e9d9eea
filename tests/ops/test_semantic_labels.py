import pytest
import torch

from masqclip_d2.ops import selection
from masqclip_d2.ops.semantic_labels import IMPLEMENTATIONS, MAX_MASKS, WeightedMasks, score_maps, semantic_labels
from tests.fake_gpu import Recorder, fake_gpu

OUTPUT = (30, 75)


def view_of(num_masks=12, columns=(9,), low_hw=(13, 17), padded_hw=(52, 68), image_hw=(47, 61), flipped=False):
    weights = tuple(torch.rand(num_masks, number) for number in columns)
    return WeightedMasks(torch.randn(num_masks, *low_hw) * 3, weights, padded_hw, image_hw, flipped)


def test_reference_by_hand():
    # Probabilities 0.5, 1 and 0.5, 0. Pixel 0: 0.25 against 0.625; pixel 1: 0.5 against 0.25.
    masks = torch.tensor([[[0.0, 50.0]], [[0.0, -50.0]]])
    view = WeightedMasks(masks, (torch.tensor([[0.5, 0.25], [0.0, 1.0]]),), (1, 2), (1, 2))
    [(labels, scores)] = semantic_labels([view], (1, 2), implementation="reference")
    assert labels.tolist() == [[1, 0]]
    torch.testing.assert_close(scores, torch.tensor([[0.625, 0.5]]))


def test_the_second_view_is_flipped_back_and_padding_is_cut_off():
    inside, outside = 50.0, -50.0
    one = WeightedMasks(torch.tensor([[[inside, outside, 7.0]]]), (torch.tensor([[0.4]]),), (1, 3), (1, 2))
    other = one._replace(mask_logits=torch.tensor([[[outside, inside, 7.0]]]), flipped=True)
    for implementation in ("reference", "torch"):
        [(_, scores)] = semantic_labels([one, other], (1, 2), implementation=implementation)
        torch.testing.assert_close(scores, torch.tensor([[0.4, 0.0]]))


@pytest.mark.parametrize("resize_masks_first", [True, False])
@pytest.mark.parametrize("tile_size", [1, 10_000, 10**9], ids=["row by row", "odd bands", "one band"])
def test_torch_implementation_equals_reference(tile_size, resize_masks_first):
    torch.manual_seed(0)
    views = [view_of(columns=(9, 4)), view_of(5, (9, 4), flipped=True, padded_hw=(90, 40), image_hw=(90, 33))]
    for some in (views[:1], views):
        arguments = (some, OUTPUT, resize_masks_first, tile_size)
        found, expected = (semantic_labels(*arguments, each) for each in ("torch", "reference"))
        for group, (labels, scores) in enumerate(found):
            assert labels.dtype == expected[group][0].dtype == (torch.int64, torch.int32)[group]
            torch.testing.assert_close(scores, expected[group][1], atol=1e-4, rtol=1e-5)
            clear = score_maps(some, OUTPUT, resize_masks_first, group).topk(2, dim=0).values.diff(dim=0)[0] < -1e-4
            assert torch.equal(labels[clear], expected[group][0][clear]) and clear.float().mean() > 0.99


@pytest.mark.parametrize("implementation", ["reference", "torch"])
@pytest.mark.parametrize("resize_masks_first", [True, False])
def test_no_masks_one_column_and_ties(implementation, resize_masks_first):
    options = {"resize_masks_first": resize_masks_first, "implementation": implementation}
    [(labels, scores)] = semantic_labels([view_of(0)], OUTPUT, **options)
    assert labels.shape == OUTPUT and not labels.any() and not scores.any()
    [(labels, scores)] = semantic_labels([view_of(2, (1,))], OUTPUT, **options)
    assert not labels.any() and (scores > 0).all()
    tied = view_of(3)._replace(weights=(torch.tensor([0.1, 0.5, 0.5]).repeat(3, 1),))
    [(labels, _)] = semantic_labels([tied], OUTPUT, **options)
    assert (labels == 1).all()


def test_half_precision_is_computed_in_float32():
    view = view_of()
    low = view._replace(mask_logits=view.mask_logits.bfloat16(), weights=(view.weights[0].half(),))
    exact = low._replace(mask_logits=low.mask_logits.float(), weights=(low.weights[0].float(),))
    for implementation in ("reference", "torch"):
        [(labels, scores)], [expected] = (
            semantic_labels([each], OUTPUT, implementation=implementation) for each in (low, exact)
        )
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores, expected[1])
        assert (labels == expected[0]).float().mean() > 0.999


def test_there_are_no_gradients():
    view = view_of()
    view.mask_logits.requires_grad_()
    [(_, scores)] = semantic_labels([view], OUTPUT)
    assert not scores.requires_grad


def test_what_does_not_fit_is_named():
    view = view_of()
    with pytest.raises(ValueError, match=r"\(11, 9\) and \(12, 13, 17\)"):
        semantic_labels([view._replace(weights=(torch.rand(11, 9),))], OUTPUT)
    with pytest.raises(ValueError, match="no columns"):
        semantic_labels([view_of(columns=(0,))], OUTPUT)
    with pytest.raises(ValueError, match=r"got \[\[9\], \[8\]\] columns"):
        semantic_labels([view, view_of(columns=(8,))], OUTPUT)
    with pytest.raises(ValueError, match=r"\(53, 61\) is not inside a padded input of \(52, 68\)"):
        semantic_labels([view._replace(image_hw=(53, 61))], OUTPUT)


@pytest.mark.parametrize(
    "views, resize_masks_first, reason",
    [
        pytest.param([view_of()] * 2, True, "its kernel takes one view, not 2", id="two views"),
        pytest.param([view_of()], False, "resize_masks_first=False resizes their sums", id="sums are resized"),
        pytest.param([view_of(MAX_MASKS + 1)], True, "at most 512 masks, not 513", id="many masks"),
        pytest.param([view_of()._replace(mask_logits=torch.zeros(12, 3, 3).double())], True, "float64", id="float64"),
    ],
)
def test_what_the_kernel_leaves_to_the_plain_implementation(views, resize_masks_first, reason, monkeypatch):
    """`auto` takes the torch implementation, and `triton` is an error that names the reason."""
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    monkeypatch.setattr(selection, "triton_problem", lambda device: "")
    with pytest.raises(ValueError, match=reason):
        semantic_labels(views, OUTPUT, resize_masks_first, implementation="triton")
    monkeypatch.setitem(IMPLEMENTATIONS, "triton", lambda *_: pytest.fail("the kernel was selected"))
    [(labels, _)] = semantic_labels(views, OUTPUT, resize_masks_first)
    assert labels.shape == OUTPUT


def test_the_kernel_is_selected_on_a_gpu(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    with fake_gpu():
        view = view_of()
        masks, (weights,), *frame = view
        gpu_view = WeightedMasks(masks.cuda(), (weights.cuda(),), *frame)
        with Recorder() as recorder:
            [(labels, scores)] = semantic_labels([gpu_view], OUTPUT)
    assert labels.shape == scores.shape == OUTPUT and labels.dtype == torch.int64
    assert recorder.to_host == recorder.to_gpu == [] and recorder.launches["masqclip.semantic_labels.default"] == 1
