"""Contrastive loss between images and captions (Radford et al., 2021, Fig. 3), gathered over processes.

Shape shorthand: B image-caption pairs of this process, W processes, E embedding.
"""

from __future__ import annotations

import torch
import torch.distributed.nn.functional as distributed
import torch.nn.functional as F
from detectron2.utils import comm
from torch import Tensor


def contrastive_loss(
    image_embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor, caption_ids: Tensor
) -> Tensor:
    """Cross entropy of matching each image to its caption among all captions of the batch, and the reverse.

    Differs from CLIP: identical captions, frequent in a small world, are all correct; the target of an image is spread
    evenly over them.

    Args:
        image_embeddings, text_embeddings: (B, E) float, of any length; gathered over the processes here.
        logit_scale: () float, factor of cosine similarities.
        caption_ids: (B,) int64; equal ids mean equal captions, across processes too.

    Returns:
        () float, the mean of both directions' cross entropies.
    """
    images = _gathered(F.normalize(image_embeddings.float(), dim=-1))
    texts = _gathered(F.normalize(text_embeddings.float(), dim=-1))
    caption_ids = _gathered(caption_ids)
    logits = logit_scale * images @ texts.T  # (W * B, W * B)
    same = (caption_ids[:, None] == caption_ids[None, :]).float()
    targets = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def _gathered(rows: Tensor) -> Tensor:
    """Rows of all processes, in order of rank, differentiable."""
    if comm.get_world_size() == 1:
        return rows
    if not rows.requires_grad:
        gathered = [torch.empty_like(rows) for _ in range(comm.get_world_size())]
        torch.distributed.all_gather(gathered, rows)
        return torch.cat(gathered)
    return torch.cat(distributed.all_gather(rows))
