"""Protocols of a CLIP vision tower: everything that `visual_encoder` uses of one.

A tower is an `nn.Module`: a vision transformer whose tokens are one class token followed by P = h * w patches, row by
row, and whose image embedding is a projection of the class token. Parameter names, activation, normalization, layer
scale, query / key normalization, rotary positions and output projection are up to the tower. `ClipVisionTransformer`
is the implementation for OpenAI's and open_clip's weights, `EvaVisionTransformer` for EVA-CLIP's; register others in
`CLIP_REGISTRY`.

Shape shorthand: B images, Q mask proposals, P patches, L tokens, D width, N heads, d = D / N, E embedding,
R resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from .preprocessing import ClipPreprocessing


class AttentionInputs(NamedTuple):
    """What one block computes from its tokens before they attend to each other."""

    normed_tokens: Tensor  # (B, L, D), after the norm in front of the attention
    query: Tensor  # (B, N, L, d), not divided by sqrt(d)
    key: Tensor  # (B, N, L, d)
    value: Tensor  # (B, N, L, d)


class InputProjections(NamedTuple):
    """Query, key and value projections of one block, in this order."""

    weights: tuple[Tensor, Tensor, Tensor]  # (D, D) each: output channels, input channels
    biases: tuple[Tensor, Tensor, Tensor]  # (D,) each; zeros if the projection has no bias


class VisionBlock(Protocol):
    """One transformer block, in two steps so that mask class tokens can join in between.

    Attention weights are softmax(query key^T / sqrt(d)).
    """

    def norm(self, tokens: Tensor) -> Tensor:
        """The norm in front of the attention, of tokens (B, L, D)."""
        ...

    def query(self, normed_tokens: Tensor) -> Tensor:
        """Queries (B, N, L, d) of normed class tokens or mask class tokens (B, L, D), not divided by sqrt(d).

        They have no place in the image, so no rotary positions.
        """
        ...

    def attention_inputs(self, tokens: Tensor) -> AttentionInputs:
        """First step: normed tokens, queries, keys and values of the CLIP tokens (B, 1 + P, D)."""
        ...

    def finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Second step: output projection of `attended` (B, N, L, d), residual connections and MLP of (B, L, D)."""
        ...

    def attend(self, tokens: Tensor, inputs: AttentionInputs) -> Tensor:
        """The whole block for the tokens of `inputs`: each attends to all, then `finish`."""
        ...

    def input_projections(self) -> InputProjections:
        """Initial values for MasQ-Tuning's projections, which have no query or key normalization of their own.

        Keys by a projection of MasQ-Tuning get the rotary positions of a `RotaryBlock`.
        """
        ...


class ProjectingBlock(VisionBlock, Protocol):
    """A block whose output projection can be used alone; value pooling needs it of the last block."""

    def project_attended(self, attended: Tensor) -> Tensor:
        """The output projection of `attended` (B, N, L, d), without residual connection and MLP: (B, L, D).

        Norms between attention and residual connection are part of it.
        """
        ...


class RotaryBlock(VisionBlock, Protocol):
    """A block whose queries and keys of patches carry rotary positions; new projections of keys need them."""

    def rotate(self, heads: Tensor) -> Tensor:
        """Queries or keys (B, N, 1 + P, d) of the CLIP tokens with their positions; the class token has none."""
        ...


class VisionTower(Protocol):
    """A CLIP vision tower as `visual_encoder` uses it; also an `nn.Module`."""

    @property
    def input_resolution(self) -> int:
        """R, side of the square input in pixels; a multiple of `patch_size`."""
        ...

    @property
    def patch_size(self) -> int:
        """p, side of a patch in pixels."""
        ...

    @property
    def width(self) -> int:
        """D, channels of a token."""
        ...

    @property
    def heads(self) -> int:
        """N, attention heads of each block."""
        ...

    @property
    def output_dim(self) -> int:
        """E, length of an embedding."""
        ...

    @property
    def blocks(self) -> Sequence[VisionBlock]:
        """The transformer blocks, in order."""
        ...

    @property
    def class_position(self) -> Tensor:
        """(D,) position embedding of the class token; zeros if it has none."""
        ...

    @property
    def preprocessing(self) -> ClipPreprocessing:
        """Resize and normalization of the images the tower was trained on."""
        ...

    def embed(self, image: Tensor) -> Tensor:
        """Tokens (B, 1 + P, D) as they enter the first block, class token at index 0.

        Args:
            image: (B, 3, R, R) float, normalized by `preprocessing`.
        """
        ...

    def mask_class_tokens(self, clip_tokens: Tensor, num_masks: int, position: Tensor | None = None) -> Tensor:
        """Mask class tokens (B, Q, D) as they enter the first block: copies of the class token.

        Args:
            clip_tokens: (B, 1 + P, D) of `embed`.
            num_masks: Q.
            position: (D,) to be used in place of `class_position`; None: the class token of `clip_tokens` itself.
        """
        ...

    def project(self, tokens: Tensor) -> Tensor:
        """Class tokens or mask class tokens (..., D) after the last block -> embeddings (..., E), not unit length."""
        ...

    def __call__(self, image: Tensor) -> Tensor:
        """Image embeddings (B, E) of normalized images (B, 3, R, R); `forward` of the module."""
        ...


def check_tower_sizes(input_resolution: int, patch_size: int, width: int, heads: int) -> None:
    """ValueError unless patches fill the input and heads the width."""
    if input_resolution % patch_size or width % heads:
        raise ValueError(
            f"input_resolution {input_resolution} must be a multiple of patch_size {patch_size}, and width {width} "
            f"a multiple of heads {heads}."
        )


def check_images(image: Tensor, resolution: int) -> None:
    """ValueError unless images are (B, 3, `resolution`, `resolution`)."""
    if image.dim() != 4 or tuple(image.shape[1:]) != (3, resolution, resolution):
        raise ValueError(
            f"This CLIP takes images of shape (B, 3, {resolution}, {resolution}), got {tuple(image.shape)}; "
            "make them with visual.preprocessing.image(image, visual.input_resolution)."
        )
