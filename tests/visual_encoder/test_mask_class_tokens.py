import pytest
import torch

from masqclip_d2.visual_encoder import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.mask_class_tokens import MaskClassAttention

EXACT = {"atol": 0, "rtol": 0}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture
def encoder(visual):
    return MaskClassTokenEncoder(visual).eval()


@pytest.fixture
def image():
    return torch.randn(2, 3, 24, 24)


def half_masks(num_masks):
    """Random masks with differing patches: smooth enough that patches are really left out."""
    coarse = torch.randn(2, num_masks, 3, 3)
    return coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def test_full_mask_gives_the_image_embedding_of_plain_clip(encoder, image):
    result = encoder(image, torch.full((2, 3, 24, 24), 4.0))
    plain = encoder.visual(image)
    torch.testing.assert_close(result.mask_embeddings, plain[:, None].expand(-1, 3, -1), **CLOSE)


def test_class_and_image_tokens_leave_exactly_as_in_plain_clip(encoder, image):
    tokens = encoder.visual.transformer(encoder.visual.embed(image))
    for num_masks in (0, 5):
        result = encoder(image, half_masks(num_masks))
        torch.testing.assert_close(result.clip_tokens, tokens, **EXACT)
        torch.testing.assert_close(result.class_embedding, encoder.visual(image), **CLOSE)


def test_differing_masks_get_differing_embeddings(encoder, image):
    embeddings = encoder(image, half_masks(6)).mask_embeddings
    distances = torch.cdist(embeddings[0], embeddings[0]) + torch.eye(6)
    assert distances.min() > 1e-3


def test_permuting_masks_permutes_embeddings(encoder, image):
    masks = half_masks(7)
    order = torch.randperm(7)
    permuted = encoder(image, masks[:, order]).mask_embeddings
    torch.testing.assert_close(permuted, encoder(image, masks).mask_embeddings[:, order], **CLOSE)


def test_masks_do_not_see_each_other(encoder, image):
    masks = half_masks(7)
    alone = encoder(image, masks[:, 3:4]).mask_embeddings
    torch.testing.assert_close(alone, encoder(image, masks).mask_embeddings[:, 3:4], **CLOSE)


def test_batch_equals_one_by_one(encoder, image):
    masks = half_masks(4)
    together = encoder(image, masks).mask_embeddings
    for index in range(2):
        alone = encoder(image[index : index + 1], masks[index : index + 1]).mask_embeddings
        torch.testing.assert_close(together[index : index + 1], alone, **CLOSE)


def test_mask_logits_outside_touched_patches_do_not_matter(encoder, image):
    masks = half_masks(4)
    torch.testing.assert_close(
        encoder(image, masks).mask_embeddings, encoder(image, masks.sign() * 9).mask_embeddings, **EXACT
    )


def test_patches_outside_the_mask_are_not_attended(make_visual, image):
    # In a single block a pixel outside the mask can reach the mask class token through no other token.
    encoder = MaskClassTokenEncoder(make_visual(layers=1)).eval()
    masks = torch.full((2, 1, 24, 24), -3.0)
    masks[:, :, :8] = 3.0
    changed = image.clone()
    changed[:, :, 8:] = torch.randn(2, 3, 16, 24)
    before, after = encoder(image, masks), encoder(changed, masks)
    torch.testing.assert_close(before.mask_embeddings, after.mask_embeddings, **CLOSE)
    assert (before.class_embedding - after.class_embedding).abs().max() > 1e-2


def test_no_masks_empty_masks_and_zero_logits(encoder, image):
    assert encoder(image, torch.zeros(2, 0, 24, 24)).mask_embeddings.shape == (2, 0, 16)
    masks = torch.full((2, 2, 24, 24), -3.0)
    masks[:, 1] = 0.0
    empty, zero = encoder(image, masks).mask_embeddings.unbind(1)
    assert torch.isfinite(empty).all()
    torch.testing.assert_close(zero, encoder.visual(image), **CLOSE)  # MaskCLIP: a logit of 0 is inside
    strict = MaskClassTokenEncoder(encoder.visual, zero_is_inside=False)
    torch.testing.assert_close(strict(image, masks).mask_embeddings[:, 1], empty, **CLOSE)  # MasQCLIP: outside


def test_the_masks_of_the_caller_stay_as_they_are(encoder, image):
    masks = half_masks(3)
    before = masks.clone()
    encoder(image, masks)
    assert torch.equal(masks, before)


def test_a_block_may_change_the_masks_of_the_blocks_after_it(visual, image):
    class FillMasks(MaskClassAttention):
        def forward(self, clip_attention, tokens, clip_inputs, may_attend, mask_logits):
            attended, _ = super().forward(clip_attention, tokens, clip_inputs, may_attend, mask_logits)
            return attended, torch.ones_like(mask_logits)

    class SeeMasks(MaskClassAttention):
        def forward(self, clip_attention, tokens, clip_inputs, may_attend, mask_logits):
            seen.append(may_attend.float().mean().item())
            return super().forward(clip_attention, tokens, clip_inputs, may_attend, mask_logits)

    seen = []
    encoder = MaskClassTokenEncoder(visual, [SeeMasks(), FillMasks(), SeeMasks()])
    encoder(image, torch.full((2, 3, 24, 24), -1.0))
    assert seen == [pytest.approx(1 / 10), 1.0]  # the class token of 1 + 9 tokens, then all


def test_parameter_names_are_those_of_plain_clip(encoder):
    assert set(encoder.state_dict()) == {f"visual.{name}" for name in encoder.visual.state_dict()}


def test_works_in_bfloat16(encoder, image):
    masks = half_masks(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(image, masks).mask_embeddings.float()
    assert torch.cosine_similarity(half, encoder(image, masks).mask_embeddings, dim=-1).min() > 0.999


@pytest.mark.parametrize("shape", [(2, 3, 12, 12), (1, 3, 24, 24), (3, 24, 24)])
def test_masks_of_another_shape_are_refused(encoder, image, shape):
    with pytest.raises(ValueError, match="B = 2 and R = 24, got"):
        encoder(image, torch.zeros(shape))


def test_one_attention_per_block_is_needed(visual):
    with pytest.raises(ValueError, match="3 blocks need 3 attentions, got 1"):
        MaskClassTokenEncoder(visual, [MaskClassAttention()])
