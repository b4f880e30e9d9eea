"""Stage `clip_pretraining`: the contrastive loss between images and captions (Radford et al., 2021, Fig. 3), and the
file that the stage leaves behind.

Shape shorthand: B image-caption pairs of this process, W processes, E embedding.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.distributed.nn.functional as distributed
import torch.nn.functional as F
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import Tensor

from ...clip.model import ClipModel, save_clip

CLIP_FILE = "clip.safetensors"  # in OUTPUT_DIR


def contrastive_loss(
    image_embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor, caption_ids: Tensor
) -> Tensor:
    """Each image should find its caption among all captions of the batch, and the reverse.

    Differs from CLIP: captions that say the same word for word are all right answers (in a small world many do), so the
    target of an image is spread evenly over them.

    Args:
        image_embeddings, text_embeddings: (B, E) float, of any length; gathered over the processes here.
        logit_scale: () float, what cosines are multiplied with.
        caption_ids: (B,) int64; equal numbers mean equal captions, across processes too.

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


def random_windows(num_images: int, window: int, grid: int, device: torch.device) -> Tensor:
    """Places for images that are smaller than CLIP's input: each becomes a window at a random place of the grid.

    So a small image costs few tokens, yet teaches every position of the large grid, at the scale of large images.

    Args:
        num_images: B.
        window: patches along a side of the images.
        grid: patches along a side of CLIP's input, at least `window`.

    Returns:
        (B, window * window) int64, for `ClipVisionTransformer`.
    """
    top, left = torch.randint(0, grid - window + 1, (2, num_images, 1, 1), device=device)
    steps = torch.arange(window, device=device)
    return ((top + steps[:, None]) * grid + left + steps).flatten(1)


class ClipExporter(HookBase):
    """Writes clip.safetensors into `output_dir` when training ends, for MODEL.MASQCLIP.CLIP.NAME of other stages."""

    def __init__(self, clip: ClipModel, output_dir: str) -> None:
        self._clip = clip
        self._path = Path(output_dir) / CLIP_FILE

    def after_train(self) -> None:
        if comm.is_main_process() and self.trainer.iter + 1 >= self.trainer.max_iter:  # not if it broke off
            save_clip(self._path, self._clip)
            logging.getLogger(__name__).info("Wrote %s.", self._path)


def _gathered(rows: Tensor) -> Tensor:
    """Rows of all processes, in order of rank, with gradients."""
    if comm.get_world_size() == 1:
        return rows
    if not rows.requires_grad:
        gathered = [torch.empty_like(rows) for _ in range(comm.get_world_size())]
        torch.distributed.all_gather(gathered, rows)
        return torch.cat(gathered)
    return torch.cat(distributed.all_gather(rows))
