"""Relative Mask Attention of one block: mask class tokens use and refine their masks (MaskCLIP, Sec. 3.3).

CLIP stays frozen; the parameters defined here are the only ones trained in stage `rma`.

Shape shorthand: B images, Q mask proposals, P = h * w patches, p patch side, D width, N heads, d = D / N, R encoder
resolution.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from ..clip.vision_tower import AttentionInputs, VisionBlock, VisionTower
from ..ops.mask_refinement import mask_refinement_with_maxima
from ..ops.masked_attention import AttendBits, masked_attention
from ..ops.relative_scores import relative_scores, variance_root
from ..transfers import is_asynchronous
from .mask_class_tokens import MaskClassAttention, RefinedMasks


def attentions_with_rma(visual: VisionTower, rma_layers: Collection[int], refine: bool = True) -> list[nn.Module]:
    """One attention per block of `visual`, for `MaskClassTokenEncoder`.

    Args:
        visual: CLIP's vision tower.
        rma_layers: blocks with RMA, counted from 1 as in the paper.
        refine: see `RelativeMaskAttention`.

    Raises:
        ValueError: there is no such block.
    """
    num_blocks = len(visual.blocks)
    if not set(rma_layers) <= set(range(1, num_blocks + 1)):
        raise ValueError(f"MODEL.MASQCLIP.RMA.LAYERS {rma_layers} must lie in 1..{num_blocks}, CLIP's blocks.")
    return [
        RelativeMaskAttention(visual.width, visual.heads, visual.patch_size, refine)
        if layer in rma_layers
        else MaskClassAttention()
        for layer in range(1, num_blocks + 1)
    ]


class RelativeMaskAttention(nn.Module):
    """Attention of mask class tokens in a block with RMA; interface of `MaskClassAttention`.

    A = (phi_Q(T_MC) phi_K(T_IM)^T + A') / 2 on the patches (Eq. 3-4), where A' compares the mask patch tokens T_MP with
    the image tokens; then the masks are refined (Eq. 5).

    Differs from the paper, like the published code: the query side of A' is the layer-normalized T_MP without a linear
    map; masks enter as tanh of their logits; the score of the class token is CLIP's own.

    Args:
        width: D of CLIP.
        heads: N of CLIP.
        patch_size: p of CLIP.
        refine: also refine the masks (Eq. 5); False: `mask_logits` are returned unchanged.
    """

    def __init__(self, width: int, heads: int, patch_size: int, refine: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.mask_patch_proj = nn.Conv2d(1, width, patch_size, stride=patch_size)  # tanh(mask) -> T_MP
        self.mask_norm = nn.LayerNorm(width)
        self.key_proj = nn.Linear(width, width)  # phi_Km
        self.refinement = MaskRefinement(width, patch_size) if refine else None
        nn.init.kaiming_normal_(self.mask_patch_proj.weight)
        nn.init.zeros_(_bias_of(self.mask_patch_proj))
        nn.init.kaiming_normal_(self.key_proj.weight)
        nn.init.zeros_(self.key_proj.bias)
        self._root: tuple[object, Tensor] | None = None  # versions of the weights, `variance_root` of these
        self.register_load_state_dict_post_hook(_renew_root)

    @torch.inference_mode(False)
    @torch.no_grad()
    def prepare_inference(self) -> None:
        """Compute what depends on the weights alone, if they have changed; see the package `acceleration`."""
        tensors = (self.mask_patch_proj.weight, _bias_of(self.mask_patch_proj))
        versions = tuple((id(tensor), _version(tensor), tensor.device) for tensor in tensors)
        if self._root is None:
            self._root = (versions, variance_root(*tensors))
        elif self._root[0] != versions:
            root = variance_root(*tensors)
            before = self._root[1]
            if (before.shape, before.device) == (root.shape, root.device):
                root = before.copy_(root)  # where CUDA graphs read it
            self._root = (versions, root)

    def _variance_root(self) -> Tensor | None:
        """Kept between images on a GPU, whose kernel needs it; None in training."""
        if torch.is_grad_enabled() or not is_asynchronous(self.mask_patch_proj.weight.device):
            return None
        if not torch.compiler.is_compiling():
            self.prepare_inference()
        return None if self._root is None else self._root[1]

    def forward(
        self,
        block: VisionBlock,
        normed_mask_class_tokens: Tensor,
        clip_inputs: AttentionInputs,
        may_attend: Tensor | AttendBits,
        mask_logits: Tensor,
    ) -> tuple[Tensor, RefinedMasks | None]:
        """See `MaskClassAttention.forward`."""
        query = block.query(normed_mask_class_tokens)  # (B, N, Q, d)
        relative_key = self.key_proj(clip_inputs.normed_tokens[:, 1:])  # (B, P, D)
        scale = query.shape[-1] ** -0.5
        bias = relative_scores(
            mask_logits,
            self.mask_patch_proj.weight,
            _bias_of(self.mask_patch_proj),
            self.mask_norm.weight,
            self.mask_norm.bias,
            self.mask_norm.eps,
            relative_key.unflatten(-1, (self.heads, -1)).transpose(1, 2),
            scale=scale / 2,
            class_token=True,  # 0 for it
            dtype=query.dtype,
            root=self._variance_root(),
        )  # (B, N, Q, 1 + P)
        # Half the key yields half of CLIP's score.
        half_key = torch.cat([clip_inputs.key[:, :, :1], clip_inputs.key[:, :, 1:] / 2], dim=2)
        attended = masked_attention(query, half_key, clip_inputs.value, may_attend, bias)
        if self.refinement is None:
            return attended, None
        patch_key = clip_inputs.key[:, :, 1:].transpose(1, 2).flatten(2)  # (B, P, D)
        return attended, self.refinement((query * scale).transpose(1, 2).flatten(2), patch_key, mask_logits)


class MaskRefinement(nn.Module):
    """M_r = sigmoid(logit(M_c) + f_r(phi_Q(T_MC) * phi_K(T_IM))) (Eq. 5), on logits.

    f_r is QuickGELU and a 1 x 1 convolution from D channels to the p * p pixels of a patch, row by row.
    """

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width, patch_size**2, 1)
        nn.init.kaiming_normal_(self.proj.weight)
        nn.init.zeros_(_bias_of(self.proj))

    def forward(self, query: Tensor, key: Tensor, mask_logits: Tensor) -> RefinedMasks:
        """Refined masks.

        Args:
            query: (B, Q, D) of the mask class tokens, divided by sqrt(d).
            key: (B, P, D) of the patches.
            mask_logits: (B, Q, R, R); not changed.
        """
        weight = self.proj.weight.flatten(1)
        return RefinedMasks(*mask_refinement_with_maxima(mask_logits, query, key, weight, _bias_of(self.proj)))


def _renew_root(module: RelativeMaskAttention, _) -> None:
    """After weights are loaded: networks that are compiled or recorded do not look at their versions."""
    if module._root is not None:
        module._root = (None, module._root[1])
        module.prepare_inference()


def _version(tensor: Tensor) -> int:
    """Number of changes in place; 0 for tensors made in inference mode, which do not count them."""
    return 0 if tensor.is_inference() else tensor._version


def _bias_of(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
