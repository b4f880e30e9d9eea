import pytest
import torch

from masqclip_d2.engine.cpu_amp import bfloat16_is_native

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
