"""The proposer's head as Detectron2 knows it: pixel decoder, then mask decoder, from Mask2Former's config keys."""

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

    Built as `MaskProposalHead(cfg, input_shape)` (Detectron2's `build_sem_seg_head`) or from its two parts. The names
    of its state dict are those of published Mask2Former checkpoints, `sem_seg_head.*`.
    """

    @configurable
    def __init__(self, *, pixel_decoder: PixelDecoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = mask_decoder  # published name

    @classmethod
    def from_config(cls, cfg, input_shape: Mapping[str, ShapeSpec]) -> dict:
        """Read MODEL.SEM_SEG_HEAD.*, MODEL.MASK_FORMER.* and MODEL.MASQCLIP.PROPOSER.ENCODER_FFN_DIM.

        Published meanings that surprise: MASK_FORMER.DEC_LAYERS counts predictions, so 10 means nine decoder layers;
        MASK_FORMER.DIM_FEEDFORWARD belongs to the decoder alone, the encoder's own width is 1024 in all published
        weights (ENCODER_FFN_DIM).
        """
        head, former = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.MASK_FORMER
        _refuse_unsupported(cfg)
        encoder_levels = head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES
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
        """name -> (B, C, H / stride, W / stride) to the outputs of `MaskDecoder.forward`."""
        mask_features, multi_scale_maps = self.pixel_decoder(features)
        return self.predictor(multi_scale_maps, mask_features)


def _refuse_unsupported(cfg) -> None:
    """Keys of Mask2Former that no published configuration sets otherwise, and that we do not build."""
    head, former = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.MASK_FORMER
    if former.DROPOUT != 0 or former.PRE_NORM or former.ENFORCE_INPUT_PROJ:
        raise ValueError(
            "The proposer has no dropout, no pre-norm and no input projection: set MODEL.MASK_FORMER.DROPOUT 0.0, "
            f"PRE_NORM False and ENFORCE_INPUT_PROJ False; got {former.DROPOUT}, {former.PRE_NORM} and "
            f"{former.ENFORCE_INPUT_PROJ}."
        )
    if head.CONVS_DIM != former.HIDDEN_DIM:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.CONVS_DIM ({head.CONVS_DIM}) and MODEL.MASK_FORMER.HIDDEN_DIM ({former.HIDDEN_DIM}) "
            "must be equal: the queries attend to the encoder's maps without a projection."
        )
    if former.DEC_LAYERS < 2:
        raise ValueError(
            f"MODEL.MASK_FORMER.DEC_LAYERS is {former.DEC_LAYERS}; expected at least 2, since it counts predictions, "
            "one more than decoder layers."
        )
