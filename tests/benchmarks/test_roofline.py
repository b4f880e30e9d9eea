import importlib
import pkgutil
import sys

import pytest
import torch
import torch.nn.functional as F

from benchmarks import roofline
from benchmarks.op_cases import REAL, TINY, op_cases
from benchmarks.roofline import H200, META, Rates, floor, floor_with_gradients, op_rows, traffic
from masqclip_d2 import ops


def case(name, sizes=REAL):
    (found,) = [case for case in op_cases(sizes) if case.name == name]
    return found


def test_every_op_with_kernels_has_a_case():
    with_kernels = {
        module.name
        for module in pkgutil.iter_modules(ops.__path__)
        if module.ispkg and "triton" in importlib.import_module(f"{ops.__name__}.{module.name}").IMPLEMENTATIONS
    }
    assert {case.op for case in op_cases(REAL)} == with_kernels


def test_floor_by_hand():
    """Mask class tokens of 3 masks, 4 patches and the class token, 2 heads of 16 channels, bfloat16."""
    numbers = 2 * 16 * (3 + 5 + 5 + 3)  # query, key, value, output
    least_bytes = 2 * numbers + 3 * 5 / 8
    flops = 2 * (2 * 3 * 5 * 32)  # two products
    tokens = case("mask class tokens", TINY)
    by_bytes = floor(tokens, 1, torch.bfloat16, Rates(bandwidth=1.0, half=1e9, float32=1.0))
    assert (by_bytes.seconds, by_bytes.bound) == (least_bytes, "bytes")
    by_products = floor(tokens, 2, torch.bfloat16, Rates(bandwidth=1e9, half=10.0, float32=1.0))
    assert (by_products.seconds, by_products.bound) == (2 * flops / 10, "products")


def test_scores_are_products_in_float32_in_any_precision():
    scores = case("relative_scores")
    for dtype in (torch.bfloat16, torch.float32):
        rate = Rates(bandwidth=1e18, half=1e18, float32=1e12)
        assert floor(scores, 1, dtype, rate).seconds == pytest.approx(scores.flops / 1e12)


# Loops in Python are slow at real sizes.
GROWING = [case for case in op_cases(REAL) if not case.has_loops] + [case for case in op_cases(TINY) if case.has_loops]


@pytest.mark.parametrize("case", GROWING, ids=lambda case: case.name)
def test_floors_grow_with_the_batch_and_with_gradients(case):
    one, eight = (floor(case, batch, torch.bfloat16, H200).seconds for batch in (1, 8))
    assert 7 * one < eight <= 8 * one
    if case.differentiable(case.inputs(1, torch.bfloat16, META)):
        assert 2 * one <= floor_with_gradients(case, 1, torch.bfloat16, H200).seconds <= 4 * one


def test_traffic_counts_operations_that_touch_memory():
    a, b = (torch.empty(10, 20, device=META) for _ in range(2))
    counted = traffic(lambda: (a + b).view(200).relu())
    assert (counted.calls, counted.bytes) == (2, 4 * 200 * (3 + 2))
    assert traffic(lambda: a.new_empty(5).T).calls == 0


def test_traffic_counts_attention_as_fused():
    query, key, value = (torch.empty(1, 2, size, 8, device=META) for size in (3, 5, 5))
    plain = traffic(lambda: F.scaled_dot_product_attention(query, key, value))
    assert (plain.calls, plain.bytes) == (1, 4 * 16 * (3 + 5 + 5 + 3))
    mask = torch.empty(1, 1, 3, 5, dtype=torch.bool, device=META)
    masked = traffic(lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
    assert (masked.calls, masked.bytes) == (3, plain.bytes + 15 + 4 * 15 + 4 * 15)


@pytest.mark.slow
def test_both_tables_are_printed_and_plain_pytorch_moves_more_than_the_floor(monkeypatch, capsys):
    rows = []
    monkeypatch.setattr(roofline, "op_rows", lambda *arguments: rows.extend(op_rows(*arguments)) or rows)
    monkeypatch.setattr(sys, "argv", ["roofline.py", "--bandwidth", "2"])
    roofline.main()
    printed = capsys.readouterr().out
    assert "2.0 TB/s" in printed
    for name in ("ms_deform_attn x 6", "pixel decoder", "CLIP with Relative Mask Attention"):
        assert f"| {name}" in printed
    assert rows
    for row in rows:
        least, plain = float(row[3].split()[0]), float(row[5].split()[0])
        if row[3].endswith("(bytes)"):
            assert plain >= 0.9 * least, row
