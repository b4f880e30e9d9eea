"""Mimetic initialization: products of projections near multiples of the identity; positions by row and column."""

import torch

from masqclip_d2.shapes.clip_pretraining.initialization import (
    init_attention,
    init_for_training,
    init_positions,
)


def test_products_are_near_multiples_of_the_identity():
    width, heads = 64, 1
    in_proj, out_proj = torch.empty(3 * width, width), torch.empty(width, width)
    init_attention(in_proj, out_proj, heads)
    query, key, value = in_proj.split(width)
    scores = query.T @ key  # x^T (W_Q^T W_K) y
    values = out_proj @ value
    off_diagonal = ~torch.eye(width, dtype=torch.bool)
    assert abs(scores.diagonal().mean() - 0.7) < 0.05 and abs(values.diagonal().mean() + 0.4) < 0.05
    assert abs(scores[off_diagonal].mean()) < 0.02
    assert abs(scores[off_diagonal].std() - 0.7 / width**0.5) < 0.01


def test_each_head_has_its_own_low_rank_factors():
    in_proj, out_proj = torch.empty(3 * 32, 32), torch.empty(32, 32)
    init_attention(in_proj, out_proj, heads=4)
    assert not torch.allclose(in_proj[:8], in_proj[8:16])
    assert torch.linalg.matrix_rank(in_proj[:8].T @ in_proj[32:40]) == 8


def test_positions():
    positions = torch.full((1 + 9, 16), 7.0)
    init_positions(positions, 3)
    assert not positions[0].any()
    patches = positions[1:].unflatten(0, (3, 3))  # (row, column, D)
    assert torch.equal(patches[0, 1, :8], patches[2, 1, :8]) and torch.equal(patches[1, 0, 8:], patches[1, 2, 8:])
    assert len({tuple(row.tolist()) for row in positions[1:]}) == 9


def test_vision_tower_is_initialized(make_visual):
    visual = make_visual(width=64, heads=1)
    init_for_training(visual)
    assert not visual.positional_embedding[0].any()
    for block in visual.blocks:
        values = block.attn.out_proj.weight @ block.attn.in_proj_weight[128:]
        assert abs(values.diagonal().mean() + 0.4) < 0.1
