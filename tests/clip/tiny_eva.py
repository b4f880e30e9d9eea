"""Small EVAs of all kinds as timm builds them, with random weights in every parameter, and the same as our tower."""

import torch
from timm.models import register_model
from timm.models.eva import Eva

from masqclip_d2.clip import EvaVisionTransformer
from masqclip_d2.clip.eva_weights import with_eva_names

KINDS = ("eva02", "eva", "eva_post_norm")
_ARGUMENTS = {
    "eva02": {
        "qkv_fused": False, "mlp_ratio": 8 / 3, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True,
        "use_rot_pos_emb": True, "ref_feat_shape": (16, 16),
    },
    "eva": {"mlp_ratio": 3},
    "eva_post_norm": {"mlp_ratio": 3, "use_post_norm": True},
}  # fmt: skip


def timm_eva(kind: str, **changes) -> Eva:
    """3 x 3 patches of 8 pixels, 3 blocks of 2 heads, width 32, embeddings of length 16; every parameter is random."""
    sizes = {"img_size": 24, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 16}
    trunk = Eva(**{**sizes, **_ARGUMENTS[kind], **changes}, global_pool="token").eval()
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            near_one = "norm" in name and name.endswith("weight")
            parameter.copy_(near_one + torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.2))
    return trunk


def eva_tower(kind: str, trunk: Eva) -> EvaVisionTransformer:
    """Our tower with the weights of `timm_eva`."""
    hidden = trunk.blocks[0].mlp.fc2.in_features
    tower = EvaVisionTransformer(
        kind=kind, input_resolution=24, patch_size=8, width=32, layers=3, heads=2, output_dim=16, mlp_width=hidden
    )
    named = with_eva_names({f"visual.trunk.{name}": tensor for name, tensor in trunk.state_dict().items()})
    tower.load_state_dict({name.removeprefix("visual."): tensor for name, tensor in named.items()})
    return tower.requires_grad_(False).eval()


@register_model
def eva02_tiny_patch8_clip_24(pretrained: bool = False, **kwargs) -> Eva:
    """For open_clip, which builds its vision towers by name."""
    return timm_eva("eva02", num_classes=kwargs["num_classes"])


OPEN_CLIP_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 24, "timm_model_name": "eva02_tiny_patch8_clip_24", "timm_model_pretrained": False,
        "timm_pool": "token", "timm_proj": None,
    },
    "text_cfg": {"context_length": 12, "vocab_size": 600, "width": 64, "heads": 2, "layers": 1},
    "custom_text": True,
}  # fmt: skip
