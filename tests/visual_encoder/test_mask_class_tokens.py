import pytest
import torch

from masqclip_d2.visual_encoder import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.mask_class_tokens import MaskClassAttention, RefinedMasks

EXACT = {"atol": 0, "rtol": 0}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture
def encoder(visual):
    return MaskClassTokenEncoder(visual).eval()


@pytest.fixture
def image():
    return torch.randn(2, 3, 24, 24)


def patchwise_masks(num_masks):
    """Random masks, constant on each patch, so that every mask excludes some patches."""
    coarse = torch.randn(2, num_masks, 3, 3)
    return coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def test_full_mask_becomes_the_image_embedding_of_plain_clip(encoder, image):
    result = encoder(image, torch.full((2, 3, 24, 24), 4.0))
    plain = encoder.visual(image)
    torch.testing.assert_close(result.mask_embeddings, plain[:, None].expand(-1, 3, -1), **CLOSE)


def test_class_and_image_tokens_are_exactly_those_of_plain_clip(encoder, image):
    tokens = encoder.visual.transformer(encoder.visual.embed(image))
    for num_masks in (0, 5):
        result = encoder(image, patchwise_masks(num_masks))
        torch.testing.assert_close(result.clip_tokens, tokens, **EXACT)
        torch.testing.assert_close(result.class_embedding, encoder.visual(image), **CLOSE)


def test_different_masks_have_different_embeddings(encoder, image):
    embeddings = encoder(image, patchwise_masks(6)).mask_embeddings
    distances = torch.cdist(embeddings[0], embeddings[0]) + torch.eye(6)
    assert distances.min() > 1e-3


def test_permuting_masks_permutes_embeddings(encoder, image):
    masks = patchwise_masks(7)
    order = torch.randperm(7)
    permuted = encoder(image, masks[:, order]).mask_embeddings
    torch.testing.assert_close(permuted, encoder(image, masks).mask_embeddings[:, order], **CLOSE)


def test_masks_do_not_depend_on_each_other(encoder, image):
    masks = patchwise_masks(7)
    alone = encoder(image, masks[:, 3:4]).mask_embeddings
    torch.testing.assert_close(alone, encoder(image, masks).mask_embeddings[:, 3:4], **CLOSE)


def test_batch_equals_one_by_one(encoder, image):
    masks = patchwise_masks(4)
    together = encoder(image, masks).mask_embeddings
    for index in range(2):
        alone = encoder(image[index : index + 1], masks[index : index + 1]).mask_embeddings
        torch.testing.assert_close(together[index : index + 1], alone, **CLOSE)


def test_only_the_touched_patches_matter(encoder, image):
    masks = patchwise_masks(4)
    torch.testing.assert_close(
        encoder(image, masks).mask_embeddings, encoder(image, masks.sign() * 9).mask_embeddings, **EXACT
    )


def test_patches_outside_the_mask_are_not_attended(make_visual, image):
    # With a single block no other token can carry pixels outside the mask to the mask class token.
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


def test_input_masks_are_not_changed(encoder, image):
    masks = patchwise_masks(3)
    before = masks.clone()
    encoder(image, masks)
    assert torch.equal(masks, before)


def test_a_block_can_change_the_masks_of_later_blocks(visual, image):
    class FillMasks(MaskClassAttention):
        def forward(self, block, tokens, clip_inputs, may_attend, mask_logits):
            attended, _ = super().forward(block, tokens, clip_inputs, may_attend, mask_logits)
            return attended, RefinedMasks(torch.ones_like(mask_logits))

    class RecordMasks(MaskClassAttention):
        def forward(self, block, tokens, clip_inputs, may_attend, mask_logits):
            shares.append(may_attend.float().mean().item())
            return super().forward(block, tokens, clip_inputs, may_attend, mask_logits)

    shares = []
    encoder = MaskClassTokenEncoder(visual, [RecordMasks(), FillMasks(), RecordMasks()])
    encoder(image, torch.full((2, 3, 24, 24), -1.0))
    assert shares == [pytest.approx(1 / 10), 1.0]  # the class token of 1 + 9 tokens, then all


def test_parameter_names_are_those_of_plain_clip(encoder):
    assert set(encoder.state_dict()) == {f"visual.{name}" for name in encoder.visual.state_dict()}


def test_bfloat16_stays_close(encoder, image):
    masks = patchwise_masks(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(image, masks).mask_embeddings.float()
    assert torch.cosine_similarity(half, encoder(image, masks).mask_embeddings, dim=-1).min() > 0.999


@pytest.mark.parametrize("shape", [(2, 3, 12, 12), (1, 3, 24, 24), (3, 24, 24)])
def test_masks_of_another_shape_are_refused(encoder, image, shape):
    with pytest.raises(ValueError, match="B = 2 and R = 24, got"):
        encoder(image, torch.zeros(shape))


def test_one_attention_per_block_is_required(visual):
    with pytest.raises(ValueError, match="3 blocks need 3 attentions, got 1"):
        MaskClassTokenEncoder(visual, [MaskClassAttention()])
