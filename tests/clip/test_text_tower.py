import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, TextTransformer


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_equals_open_clip_with_the_same_weights(make_text_encoder, activation):
    encoder = make_text_encoder(activation=activation)
    theirs = TextTransformer(
        context_length=16,
        vocab_size=600,
        width=32,
        heads=2,
        layers=2,
        output_dim=24,
        act_layer=QuickGELU if activation == "quick_gelu" else torch.nn.GELU,
    ).eval()
    theirs.load_state_dict(encoder.state_dict())  # strict: the same names and shapes
    tokens = encoder.tokenize(["a cat", "x", "two striped dogs"])
    padded = torch.nn.functional.pad(tokens, (0, 16 - tokens.shape[1]))
    torch.testing.assert_close(encoder(tokens), theirs(padded), atol=1e-5, rtol=1e-5)


def test_names_are_those_of_openai(make_text_encoder):
    config = open_clip.get_model_config("ViT-B-32")
    with torch.device("meta"):
        theirs = open_clip.CLIP(**config)
        ours = make_text_encoder(context_length=77, vocab_size=49408, width=512, heads=8, layers=12, output_dim=512)
    shapes = {
        name: tensor.shape
        for name, tensor in theirs.state_dict().items()
        if not name.startswith("visual.") and name != "logit_scale"
    }
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes


def test_full_vocabulary_tokenizes_as_open_clip(make_text_encoder):
    encoder = make_text_encoder(context_length=77, vocab_size=49408)
    texts = ["A photo of a  Dog.", "caf\u00e9 & bar", "", "don't stop123"]
    tokens = encoder.tokenize(texts)
    assert torch.equal(tokens, open_clip.tokenize(texts)[:, : tokens.shape[1]])
    assert tokens.shape[1] == (tokens != 0).sum(dim=1).max()


def test_small_vocabulary_spells_any_word_and_ends_in_its_largest_token(text_encoder):
    tokens = text_encoder.tokenize(["zebra", "\u732b", "cat"])
    assert tokens.max() == 599
    assert (tokens.argmax(dim=1) == (tokens != 0).sum(dim=1) - 1).all()
    assert len({tuple(row) for row in tokens.tolist()}) == 3
    assert tokens[0, 0] == 598  # start of text


def test_padding_does_not_change_an_embedding(text_encoder):
    alone = text_encoder.encode(["cat"])
    together = text_encoder.encode(["cat", "a striped dog"])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_batches_do_not_matter_and_there_may_be_no_text(text_encoder):
    texts = ["cat " * (1 + 3 * index % 5) for index in range(7)]  # of mixed lengths, which batches sort
    one_by_one = torch.cat([text_encoder.encode([text]) for text in texts])
    torch.testing.assert_close(text_encoder.encode(texts, batch_size=3), one_by_one, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text_encoder.encode(texts), one_by_one, atol=1e-5, rtol=1e-5)
    assert text_encoder.encode([]).shape == (0, 24)


def test_autocast_does_not_reach_the_embeddings(text_encoder):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = text_encoder.encode(["cat"])
    assert torch.equal(inside, text_encoder.encode(["cat"])) and not inside.requires_grad


def test_too_long_text_is_named_or_cut(text_encoder):
    with pytest.raises(ValueError, match="The text 'zebra zebra.* needs .* tokens, but this CLIP reads 16"):
        text_encoder.tokenize(["cat", "zebra " * 9])
    tokens = text_encoder.tokenize(["zebra " * 9], truncate=True)
    assert tokens.shape == (1, 16) and tokens[0, -1] == 599


def test_gradient_reaches_all_weights(text_encoder):
    text_encoder(text_encoder.tokenize(["cat", "dog"])).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in text_encoder.parameters())


def test_impossible_vocabulary_size(make_text_encoder):
    with pytest.raises(ValueError, match="vocab_size must be between 514 and .* got 100"):
        make_text_encoder(vocab_size=100).tokenize(["cat"])
