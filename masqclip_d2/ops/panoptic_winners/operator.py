"""panoptic_winners with the kernel of `kernels.py`, as an operator of torch: fake tensors, export, compile.

There are no gradients. Importing this module needs triton.

Shape shorthand: Q masks, H x W pixels of the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..output_masks import OutputMasks
from ..resize_taps import axis_taps
from ..triton_support import kernel_op, power_of_two
from . import kernels as _kernels

kernels: Any = _kernels  # type checkers do not know how triton.jit changes a function

_ROWS = 16  # of the output that a program computes; below 256, see the kernel
_VALUES_PER_THREAD = 8  # of a tile (masks, pixels)
_MAX_REGISTERS = 128  # of a thread; without this limit ptxas chooses lower ones and spills


def panoptic_winners_triton(probs: Tensor, masks: OutputMasks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `panoptic_winners`."""
    sizes = (masks.padded_hw, masks.image_hw, masks.output_hw)
    winners, areas = torch.ops.masqclip.panoptic_winners(probs, masks.mask_logits, *sizes)
    won, covered, of_masks = areas.unbind()
    return winners, won, covered, of_masks


@kernel_op("masqclip::panoptic_winners")
def _panoptic_winners(
    probs: Tensor, mask_logits: Tensor, padded_hw: Sequence[int], image_hw: Sequence[int], output_hw: Sequence[int]
) -> tuple[Tensor, Tensor]:
    num_masks, (height, width) = len(mask_logits), output_hw
    winners = mask_logits.new_empty(tuple(output_hw), dtype=torch.int32)
    areas = mask_logits.new_zeros((3, num_masks), dtype=torch.int32)
    if num_masks == 0:
        return winners.zero_(), areas.long()
    block_q, block_w, num_warps = _tile(num_masks)
    rows, columns = axis_taps(mask_logits, padded_hw, image_hw, output_hw)
    kernels._panoptic_winners_kernel[(-(-width // block_w) * -(-height // _ROWS),)](
        mask_logits.contiguous(), probs.float().contiguous(), *rows, *columns, winners, areas,
        num_masks, mask_logits.shape[1:].numel(), mask_logits.shape[2], height, width,
        len(rows.weights), len(columns.weights), ROWS=_ROWS, BLOCK_Q=block_q, BLOCK_W=block_w, num_warps=num_warps,
        maxnreg=_MAX_REGISTERS,
    )  # fmt: skip
    return winners, areas.long()


@_panoptic_winners.register_fake
def _(probs, mask_logits, padded_hw, image_hw, output_hw) -> tuple[Tensor, Tensor]:
    winners = mask_logits.new_empty(tuple(output_hw), dtype=torch.int32)
    return winners, mask_logits.new_empty((3, mask_logits.shape[0]), dtype=torch.int64)


def _tile(num_masks: int) -> tuple[int, int, int]:
    """Masks and pixels of a tile, and the warps of a program."""
    block_q = power_of_two(num_masks)
    num_warps = 8 if block_q <= 64 else 16
    return block_q, num_warps * 32 * _VALUES_PER_THREAD // block_q, num_warps
