"""A tiny CLIP with OpenAI's names, and a comparison of two CLIPs, for tests of loading and saving."""

import torch

from masqclip_d2.clip import ClipModel, build_clip

SIZES = {
    "image_resolution": 16,
    "patch_size": 8,
    "vision_width": 64,
    "vision_layers": 2,
    "vision_heads": 1,
    "embed_dim": 24,
    "text_width": 64,
    "text_layers": 1,
    "text_heads": 1,
    "context_length": 12,
    "vocab_size": 600,
    "activation": "quick_gelu",
}


def tiny_clip() -> ClipModel:
    model = build_clip(SIZES).eval()
    with torch.no_grad():
        model.log_logit_scale.fill_(3.0)
    return model


def assert_same(loaded: ClipModel, clip: ClipModel) -> None:
    """`loaded` equals `clip`, and is frozen, in eval mode and float32."""
    image, texts = torch.randn(2, 3, 16, 16), ["cat", "dog"]
    torch.testing.assert_close(loaded.visual(image), clip.visual(image))
    torch.testing.assert_close(loaded.text.encode(texts), clip.text.encode(texts))
    torch.testing.assert_close(loaded.logit_scale, torch.tensor(3.0).exp())
    assert loaded.architecture == clip.architecture and loaded.preprocessing == clip.preprocessing
    assert loaded.pretrained
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
