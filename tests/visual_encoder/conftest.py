"""A CLIP visual tower that is small but has all parts: 3 x 3 patches of 8 pixels, 3 blocks of 2 heads."""

import pytest
import torch

from masqclip_d2.visual_encoder import ClipVisualTransformer


@pytest.fixture
def make_visual():
    def make(**changes):
        sizes = {
            "input_resolution": 24,
            "patch_size": 8,
            "width": 32,
            "layers": 3,
            "heads": 2,
            "output_dim": 16,
            **changes,
        }
        visual = ClipVisualTransformer(**sizes).eval()
        with torch.no_grad():  # biases and norms start at 0 and 1, which would hide a missing one
            for name, parameter in visual.named_parameters():
                if name.endswith("bias") or ".ln" in name or name.startswith("ln"):
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        return visual

    return make


@pytest.fixture
def visual(make_visual):
    return make_visual()
