"""Precision of inference: what each machine gains from, and one line where it gains nothing."""

import pytest
import torch

from masqclip_d2 import Predictor
from masqclip_d2.batch.inputs import SAMPLES
from masqclip_d2.precision import bfloat16_is_native, inference_dtype

pytestmark = pytest.mark.skipif(
    not hasattr(torch.cpu, "_is_amx_tile_supported"), reason="this torch does not tell the instructions of a CPU"
)


@pytest.mark.parametrize(
    ("machine", "avx512_bf16", "amx", "native"),
    [
        ("x86_64", False, False, False),
        ("AMD64", True, False, True),
        ("x86_64", False, True, True),
        ("arm64", False, False, True),
    ],
)
def test_x86_needs_instructions_for_bfloat16(monkeypatch, machine, avx512_bf16, amx, native):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert bfloat16_is_native() is native


def test_a_torch_that_cannot_tell_gets_bfloat16(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert bfloat16_is_native()


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "device", "native", "expected", "message"),
    [
        ("fp32", CPU, False, torch.float32, ""),
        ("bf16", CPU, True, torch.bfloat16, ""),
        ("bf16", CPU, False, torch.float32, "dtype bf16 has no effect: this CPU emulates bfloat16"),
        ("fp16", CPU, True, torch.float32, "dtype fp16 has no effect: CPUs are slower in float16"),
        ("bf16", CUDA, False, torch.bfloat16, ""),
        ("fp16", CUDA, False, torch.float16, ""),
    ],
)
def test_what_a_machine_is_slower_in_is_ignored_in_one_line(
    monkeypatch, caplog, name, device, native, expected, message
):
    monkeypatch.setattr("masqclip_d2.precision.bfloat16_is_native", lambda: native)
    assert inference_dtype(name, device) == expected
    assert [record.getMessage().startswith(message) for record in caplog.records] == [True] * bool(message)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="dtype is 'float16'; expected one of fp32, bf16, fp16"):
        inference_dtype("float16", CPU)


def test_half_precision_changes_little_and_leaves_float32(monkeypatch):
    """The shipped toy, whose networks are trained; this CPU may emulate bfloat16."""
    monkeypatch.setattr("masqclip_d2.precision.bfloat16_is_native", lambda: True)
    sample = SAMPLES / "shapes_1.png"
    full, half = (Predictor(device="cpu", dtype=dtype).encode(sample) for dtype in ("fp32", "bf16"))
    assert half.mask_embeddings.dtype == half.proposals.mask_logits.dtype == torch.float32
    cosine = (full.unit_embeddings * half.unit_embeddings).sum(-1)
    assert (cosine < 1 - 1e-7).any() and cosine.median() > 0.99
    agree = ((full.proposals.mask_logits > 0) == (half.proposals.mask_logits > 0)).float().mean()
    assert agree > 0.98
