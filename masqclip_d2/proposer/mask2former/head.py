"""Detectron2 head of the proposer: pixel decoder, then mask decoder, built from Mask2Former's config keys."""

from __future__ import annotations

from collections.abc import Mapping

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from .mask_decoder import MaskDecoder
from .pixel_decoder import PixelDecoder


@SEM_SEG_HEADS_REGISTRY.register()
class MaskProposalHead(nn.Module):
    """Backbone features -> Q mask logits with object logits.

    Built as `MaskProposalHead(cfg, input_shape)` (Detectron2's `build_sem_seg_head`) or from its two parts. Names in
    its state dict are those of published Mask2Former checkpoints, `sem_seg_head.*`.
    """

    @configurable
    def __init__(self, *, pixel_decoder: PixelDecoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = mask_decoder  # published name

    @classmethod
    def from_config(cls, cfg, input_shape: Mapping[str, ShapeSpec]) -> dict:
        """Read MODEL.SEM_SEG_HEAD.*, MODEL.MASK_FORMER.* and MODEL.MASQCLIP.PROPOSER.ENCODER_FFN_DIM.

        As in Mask2Former, MASK_FORMER.DEC_LAYERS counts predictions (10 means nine decoder layers), and
        MASK_FORMER.DIM_FEEDFORWARD is the width of the decoder only; the encoder's is ENCODER_FFN_DIM, 1024 in all
        published weights.
        """
        head, former = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.MASK_FORMER
        _refuse_unsupported(cfg)
        encoder_levels = head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES
        missing = [name for name in head.IN_FEATURES if name not in input_shape]
        if missing:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.IN_FEATURES names {', '.join(missing)}; the levels of the backbone "
                f"{cfg.MODEL.BACKBONE.NAME} are {', '.join(input_shape)}. Set that key, and "
                "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES to the same without the finest."
            )
        pixel_decoder = PixelDecoder(
            input_shape={name: input_shape[name] for name in head.IN_FEATURES},
            encoder_in_features=encoder_levels,
            conv_dim=head.CONVS_DIM,
            mask_dim=head.MASK_DIM,
            norm=head.NORM,
            num_heads=head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS,
            num_layers=head.TRANSFORMER_ENC_LAYERS,
            num_points=head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS,
            ffn_dim=cfg.MODEL.MASQCLIP.PROPOSER.ENCODER_FFN_DIM,
        )
        mask_decoder = MaskDecoder(
            num_classes=head.NUM_CLASSES,
            hidden_dim=former.HIDDEN_DIM,
            mask_dim=head.MASK_DIM,
            num_queries=former.NUM_OBJECT_QUERIES,
            num_layers=former.DEC_LAYERS - 1,
            num_heads=former.NHEADS,
            ffn_dim=former.DIM_FEEDFORWARD,
            num_levels=len(encoder_levels),
        )
        return {"pixel_decoder": pixel_decoder, "mask_decoder": mask_decoder}

    def forward(self, features: Mapping[str, Tensor]) -> dict:
        """Outputs of `MaskDecoder.forward` from features: name -> (B, C, H / stride, W / stride)."""
        mask_features, multi_scale_maps = self.pixel_decoder(features)
        return self.predictor(multi_scale_maps, mask_features)


def _refuse_unsupported(cfg) -> None:
    """Refuse values of Mask2Former's keys that no published configuration has."""
    head, former = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.MASK_FORMER
    if former.DROPOUT != 0 or former.PRE_NORM or former.ENFORCE_INPUT_PROJ:
        raise ValueError(
            "Dropout, pre-norm and input projection are not supported: set MODEL.MASK_FORMER.DROPOUT 0.0, "
            f"PRE_NORM False and ENFORCE_INPUT_PROJ False; got {former.DROPOUT}, {former.PRE_NORM} and "
            f"{former.ENFORCE_INPUT_PROJ}."
        )
    if head.CONVS_DIM != former.HIDDEN_DIM:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.CONVS_DIM ({head.CONVS_DIM}) and MODEL.MASK_FORMER.HIDDEN_DIM ({former.HIDDEN_DIM}) "
            "must be equal, since queries attend to the encoder's maps without a projection."
        )
    if former.DEC_LAYERS < 2:
        raise ValueError(
            f"MODEL.MASK_FORMER.DEC_LAYERS is {former.DEC_LAYERS}; expected at least 2, since it counts predictions, "
            "one more than decoder layers."
        )
