"""Golden sets `mask2former_head_*`: backbone features -> pixel decoder -> masked-attention decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from detectron2.layers import ShapeSpec

from masqclip_d2.proposer.mask2former.head import MaskProposalHead
from masqclip_d2.proposer.mask2former.mask_decoder import MaskDecoder
from masqclip_d2.proposer.mask2former.pixel_decoder import PixelDecoder
from masqclip_d2.proposer.mask2former.position_encoding import sine_position_map
from tests.golden_checks import GoldenRow, max_abs_error

WHAT = ("Mask2Former class-agnostic head",)
_TOLERANCE = 5e-5  # golden/README.md, "Tolerance to expect"


def check(arrays: dict, meta: dict) -> Iterator[GoldenRow]:
    # Training mode for the auxiliary outputs; nothing else in this head depends on it.
    head = _build_head(meta).train()
    head.load_state_dict({name[3:]: torch.from_numpy(a) for name, a in arrays.items() if name.startswith("sd/")})
    features = {name[3:]: torch.from_numpy(a) for name, a in arrays.items() if name.startswith("in/")}

    normed = []
    head.predictor.decoder_norm.register_forward_hook(lambda _module, _args, output: normed.append(output))
    with torch.no_grad():
        mask_features, multi_scale_maps = head.pixel_decoder(features)
        outputs = head.predictor(multi_scale_maps, mask_features)

    coarsest = arrays["in/res5"].shape[-2:]
    memory = torch.cat([level.flatten(2) for level in multi_scale_maps], -1).transpose(1, 2)
    actual = {
        "dbg/sine_pos_res5": sine_position_map(*coarsest, meta["conv_dim"], torch.device("cpu")),
        "dbg/encoder_memory": memory,
        **{f"dbg/multi_scale_{i}": level for i, level in enumerate(multi_scale_maps)},
        "dbg/mask_features": mask_features,
        "dbg/decoder_norm_outputs": torch.stack(normed).transpose(1, 2),  # (prediction, query, batch, channel)
        "out/pred_logits": outputs["pred_logits"],
        "out/pred_masks": outputs["pred_masks"],
    }
    for i, aux in enumerate(outputs["aux_outputs"]):
        actual |= {f"out/aux_{i}_{name}": value for name, value in aux.items()}
    for name, expected in arrays.items():
        if name.startswith(("out/", "dbg/")):
            yield GoldenRow(name, max_abs_error(actual[name], expected), _TOLERANCE)


def _build_head(meta: dict) -> MaskProposalHead:
    pixel_decoder = PixelDecoder(
        input_shape={
            name: ShapeSpec(channels=channels, stride=stride)
            for (name, channels), stride in zip(meta["in_channels"].items(), meta["strides"], strict=True)
        },
        encoder_in_features=[name for name in meta["in_channels"] if name != "res2"],
        conv_dim=meta["conv_dim"],
        mask_dim=meta["mask_dim"],
        norm="GN",
        num_heads=meta["nheads"],
        num_layers=meta["encoder_layers"],
        num_points=meta["n_points"],
        ffn_dim=meta["encoder_ffn"],
    )
    mask_decoder = MaskDecoder(
        num_classes=meta["num_classes"],
        hidden_dim=meta["hidden_dim"],
        mask_dim=meta["mask_dim"],
        num_queries=meta["queries"],
        num_layers=meta["decoder_layers"],
        num_heads=meta["nheads"],
        ffn_dim=meta["decoder_ffn"],
        num_levels=3,
    )
    return MaskProposalHead(pixel_decoder=pixel_decoder, mask_decoder=mask_decoder)
