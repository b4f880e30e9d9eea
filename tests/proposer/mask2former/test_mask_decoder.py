import pytest
import torch

from masqclip_d2.proposer.mask2former.mask_decoder import MaskDecoder, PackedAttention


def _decoder(num_queries=6, num_classes=1):
    return MaskDecoder(
        num_classes=num_classes,
        hidden_dim=32,
        mask_dim=12,
        num_queries=num_queries,
        num_layers=3,
        num_heads=4,
        ffn_dim=48,
        num_levels=2,
    )


def _inputs(batch=2):
    return [torch.randn(batch, 32, 3, 2), torch.randn(batch, 32, 6, 4)], torch.randn(batch, 12, 12, 8)


def test_permuting_queries_permutes_predictions():
    decoder = _decoder().eval()
    maps, mask_features = _inputs()
    expected = decoder(maps, mask_features)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        decoder.query_feat.weight.copy_(decoder.query_feat.weight[order])
        decoder.query_embed.weight.copy_(decoder.query_embed.weight[order])
    actual = decoder(maps, mask_features)
    for name in ("pred_masks", "pred_logits"):
        torch.testing.assert_close(actual[name], expected[name][:, order], rtol=1e-4, atol=1e-5)


def test_auxiliary_outputs_in_training_mode_only():
    decoder = _decoder()
    maps, mask_features = _inputs()
    training = decoder.train()(maps, mask_features)
    evaluation = decoder.eval()(maps, mask_features)
    assert "aux_outputs" not in evaluation
    assert len(training["aux_outputs"]) == 3  # before the first layer, and after all layers but the last
    for output in training["aux_outputs"]:
        assert output["pred_masks"].shape == (2, 6, 12, 8)
        assert output["pred_logits"].shape == (2, 6, 2)
    torch.testing.assert_close(training["pred_masks"], evaluation["pred_masks"])
    torch.testing.assert_close(training["pred_logits"], evaluation["pred_logits"])


def test_every_parameter_learns():
    decoder = _decoder().train()
    output = decoder(*_inputs())
    sum(
        o[name].pow(2).sum() for o in (output, *output["aux_outputs"]) for name in ("pred_masks", "pred_logits")
    ).backward()
    without = [name for name, parameter in decoder.named_parameters() if parameter.grad is None]
    assert without == []


def test_without_classes():
    decoder = _decoder(num_classes=0).eval()
    assert not any("class_embed" in name for name in decoder.state_dict())
    assert decoder(*_inputs())["pred_logits"] is None


def test_a_query_with_an_empty_mask_attends_everywhere():
    attention = PackedAttention(8, 2)
    query, key = torch.randn(1, 2, 8), torch.randn(1, 5, 8)
    attend_mask = torch.tensor([[[True, False, True, False, False], [False] * 5]])
    everywhere = attention(query, key, key, torch.ones_like(attend_mask))
    attended = attention(query, key, key, attend_mask)
    torch.testing.assert_close(attended[:, 1], everywhere[:, 1])
    assert not torch.allclose(attended[:, 0], everywhere[:, 0])


def test_packed_attention_equals_torch_multihead_attention():
    ours, theirs = PackedAttention(32, 4), torch.nn.MultiheadAttention(32, 4, batch_first=True)
    torch.nn.init.normal_(ours.in_proj_bias)
    theirs.load_state_dict(ours.state_dict())
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    attend_mask = torch.rand(2, 5, 7) > 0.5
    attend_mask[..., 0] = True
    forbidden = ~attend_mask.repeat_interleave(4, dim=0)  # torch's argument means the opposite
    expected, _ = theirs(query, key, value, attn_mask=forbidden)
    torch.testing.assert_close(ours(query, key, value, attend_mask), expected)


def test_mask_is_the_inner_product_with_the_features():
    decoder = _decoder().eval()
    maps, mask_features = _inputs()
    masks = decoder(maps, mask_features)["pred_masks"]
    twice = decoder(maps, 2 * mask_features)["pred_masks"]
    torch.testing.assert_close(twice, 2 * masks)  # positive scale: same attend masks, twice the logits


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="not divisible by its 5 heads"):
        PackedAttention(32, 5)
