import pytest
import torch

from masqclip_d2.ops.ms_deform_attn import IMPLEMENTATIONS, fast, ms_deform_attn

LEVELS = [(3, 5), (1, 1), (7, 2)]  # odd sizes, one of a single pixel


def _inputs(batch=2, queries=9, heads=3, channels=5, points=2, dtype=torch.float64):
    size = sum(h * w for h, w in LEVELS)
    value = torch.randn(batch, size, heads, channels, dtype=dtype)
    # Beyond the border on every side.
    locations = torch.rand(batch, queries, heads, len(LEVELS), points, 2, dtype=dtype) * 1.6 - 0.3
    weights = torch.randn(batch, queries, heads, len(LEVELS), points, dtype=dtype)
    return value, locations, weights


def _run(implementation, value, locations, weights):
    return ms_deform_attn(value, LEVELS, locations, weights, implementation=implementation)


def _output_and_gradients(implementation, inputs):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = _run(implementation, *leaves)
    generator = torch.Generator().manual_seed(1)
    scalar = (output * torch.randn(output.shape, generator=generator, dtype=output.dtype)).sum()
    return [output, *torch.autograd.grad(scalar, leaves)]


def test_torch_implementation_equals_reference_with_gradients():
    inputs = _inputs()
    expected = _output_and_gradients("reference", inputs)
    actual = _output_and_gradients("torch", inputs)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-10)


def test_torch_implementation_takes_non_contiguous_inputs():
    value, locations, weights = _inputs()
    strided = value.transpose(0, 2).contiguous().transpose(0, 2)
    torch.testing.assert_close(_run("torch", strided, locations, weights), _run("torch", value, locations, weights))


def test_no_queries():
    value, locations, weights = _inputs(queries=0)
    assert _run("torch", value, locations, weights).shape == (2, 0, 15)


@pytest.mark.parametrize("implementation", ["reference", "torch"])
def test_hand_computed_samples(implementation):
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)  # [[1, 2], [3, 4]]
    points = [
        (0.25, 0.25),  # center of pixel 1
        (0.5, 0.5),  # between all four
        (0.75, 0.5),  # between 2 and 4
        (0.0, 0.25),  # left border: half of pixel 1, half outside
        (-0.5, 0.25),  # outside
    ]
    locations = torch.tensor(points).view(1, len(points), 1, 1, 1, 2)
    weights = torch.full((1, len(points), 1, 1, 1), 2.0)
    output = ms_deform_attn(value, [(2, 2)], locations, weights, implementation=implementation)
    torch.testing.assert_close(output.flatten(), 2 * torch.tensor([1.0, 2.5, 3.0, 0.5, 0.0]))


def test_disagreeing_shapes_are_refused():
    value, locations, weights = _inputs()
    with pytest.raises(ValueError, match="another number of pixels"):
        ms_deform_attn(value[:, 1:], LEVELS, locations, weights)
    with pytest.raises(ValueError, match="without \\(x, y\\)"):
        ms_deform_attn(value, LEVELS, locations, weights[:, 1:])
    with pytest.raises(ValueError, match="images, heads, levels"):
        ms_deform_attn(value[:, :, 1:], LEVELS, locations, weights)


@pytest.mark.parametrize("form", [fast.by_embedding_bag, fast.by_grid_sample])
def test_both_fast_forms_equal_the_reference_with_gradients(form, monkeypatch):
    """On the CPU, too, where only the first is in use."""
    monkeypatch.setitem(IMPLEMENTATIONS, "torch", form)
    inputs = _inputs()
    for a, e in zip(_output_and_gradients("torch", inputs), _output_and_gradients("reference", inputs), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-10)


def test_passes_over_the_queries_change_nothing(monkeypatch):
    inputs = _inputs(queries=23)
    with torch.no_grad():
        at_once = _run("torch", *inputs)
        monkeypatch.setattr(fast, "_SAMPLES_PER_PASS", 50)  # two queries
        assert torch.equal(_run("torch", *inputs), at_once)


def test_float32_on_the_sizes_of_a_photograph():
    """Positions of 100 x 152 pixels: parity with the formula in float64 to 1e-5 of the values."""
    levels = [(3, 5), (50, 76), (100, 152)]
    value = torch.randn(1, sum(h * w for h, w in levels), 2, 8)
    locations = torch.rand(1, 300, 2, 3, 4, 2) * 1.2 - 0.1
    weights = torch.rand(1, 300, 2, 12).softmax(-1).view(1, 300, 2, 3, 4)
    exact = ms_deform_attn(value.double(), levels, locations.double(), weights.double(), implementation="reference")
    with torch.no_grad():
        found = ms_deform_attn(value, levels, locations, weights)
    assert (found - exact).abs().max() < 1e-5 * value.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_values_are_summed_in_float32(dtype):
    value, locations, weights = (tensor.float() for tensor in _inputs())
    found = _run("torch", value.to(dtype), locations, weights)
    assert found.dtype == dtype
    torch.testing.assert_close(found, _run("torch", value.to(dtype).float(), locations, weights).to(dtype))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_locations_far_away_or_no_numbers_read_nothing_outside(bad):
    """A diverged network must not crash; other queries are not affected."""
    value, locations, weights = (tensor.float() for tensor in _inputs())
    expected = _run("torch", value, locations, weights)
    locations[:, 4] = bad
    found = _run("torch", value, locations, weights)
    others = torch.arange(9) != 4
    assert torch.equal(found[:, others], expected[:, others])
    assert found[:, 4].isnan().all() if bad != bad else (found[:, 4] == 0).all()
