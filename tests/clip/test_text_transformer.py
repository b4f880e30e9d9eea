import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, TextTransformer

from masqclip_d2.clip import text_transformer


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_equals_open_clip_with_the_same_weights(make_text_encoder, activation):
    encoder = make_text_encoder(activation=activation)
    reference = TextTransformer(
        context_length=16,
        vocab_size=600,
        width=32,
        heads=2,
        layers=2,
        output_dim=24,
        act_layer=QuickGELU if activation == "quick_gelu" else torch.nn.GELU,
    ).eval()
    reference.load_state_dict(encoder.state_dict())  # strict: the same names and shapes
    tokens = encoder.tokenize(["a cat", "x", "two striped dogs"])
    padded = torch.nn.functional.pad(tokens, (0, 16 - tokens.shape[1]))
    torch.testing.assert_close(encoder(tokens), reference(padded), atol=1e-5, rtol=1e-5)


def test_names_are_those_of_openai(make_text_encoder):
    config = open_clip.get_model_config("ViT-B-32")
    with torch.device("meta"):
        reference = open_clip.CLIP(**config)
        encoder = make_text_encoder(context_length=77, vocab_size=49408, width=512, heads=8, layers=12, output_dim=512)
    shapes = {
        name: tensor.shape
        for name, tensor in reference.state_dict().items()
        if not name.startswith("visual.") and name != "logit_scale"
    }
    assert {name: tensor.shape for name, tensor in encoder.state_dict().items()} == shapes


def test_padding_does_not_change_an_embedding(text_encoder):
    alone = text_encoder.encode(["cat"])
    together = text_encoder.encode(["cat", "a striped dog"])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_embeddings_do_not_depend_on_the_batch_and_there_may_be_no_text(text_encoder):
    texts = ["cat " * (1 + 3 * index % 5) for index in range(7)]  # of mixed lengths, which batches sort
    one_by_one = torch.cat([text_encoder.encode([text]) for text in texts])
    torch.testing.assert_close(text_encoder.encode(texts, batch_size=3), one_by_one, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text_encoder.encode(texts), one_by_one, atol=1e-5, rtol=1e-5)
    assert text_encoder.encode([]).shape == (0, 24)


def test_encode_is_float32_under_autocast(text_encoder):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = text_encoder.encode(["cat"])
    assert torch.equal(inside, text_encoder.encode(["cat"])) and not inside.requires_grad


def test_gradient_reaches_all_weights(text_encoder):
    text_encoder(text_encoder.tokenize(["cat", "dog"])).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in text_encoder.parameters())


def test_digest_covers_weights_sizes_and_tokenizer(make_text_encoder, monkeypatch):
    encoder, copy = make_text_encoder(), make_text_encoder()
    assert encoder.content_digest() != copy.content_digest()
    copy.load_state_dict(encoder.state_dict())
    assert encoder.content_digest() == copy.content_digest()
    copy.heads = 4
    assert encoder.content_digest() != copy.content_digest()
    copy.heads, copy.activation = encoder.heads, "gelu"
    assert encoder.content_digest() != copy.content_digest()
    digest = encoder.content_digest()
    monkeypatch.setattr(text_transformer, "TOKENIZER_VERSION", 0)
    assert encoder.content_digest() != digest
