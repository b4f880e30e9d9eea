import pickle
import random

import open_clip
import pytest
import torch

from masqclip_d2.categories import load_categories
from masqclip_d2.clip import ClipTokenizer


def test_full_vocabulary_equals_open_clip():
    texts = ["A photo of a  Dog.", "caf\u00e9 & bar", "", "don't stop123"]
    tokens = ClipTokenizer(49408, 77)(texts)
    assert torch.equal(tokens, open_clip.tokenize(texts)[:, : tokens.shape[1]])
    assert tokens.shape[1] == (tokens != 0).sum(dim=1).max()


def test_small_vocabulary_encodes_any_text_and_ends_with_the_largest_id():
    tokens = ClipTokenizer(600, 16)(["zebra", "\u732b", "cat"])
    assert tokens.max() == 599
    assert (tokens.argmax(dim=1) == (tokens != 0).sum(dim=1) - 1).all()
    assert len({tuple(row) for row in tokens.tolist()}) == 3
    assert tokens[0, 0] == 598  # start of text


def test_number_of_tokens_counts_start_and_end():
    tokenizer = ClipTokenizer(49408, 77)
    assert tokenizer.num_tokens("a cat") == 4 and tokenizer(["a cat"]).shape == (1, 4)


def test_too_long_text_is_named_or_truncated():
    tokenizer = ClipTokenizer(600, 16)
    with pytest.raises(ValueError, match="The text 'zebra zebra.* needs .* tokens, but the context length .* is 16"):
        tokenizer(["cat", "zebra " * 9])
    tokens = tokenizer(["zebra " * 9], truncate=True)
    assert tokens.shape == (1, 16) and tokens[0, -1] == 599


def test_no_texts():
    assert ClipTokenizer(600, 16)([]).shape == (0, 1)


def test_can_be_pickled():
    tokenizer = ClipTokenizer(600, 16)
    tokens = tokenizer(["cat"])
    assert torch.equal(pickle.loads(pickle.dumps(tokenizer))(["cat"]), tokens)


@pytest.mark.parametrize("vocab_size", [100, 50_000])
def test_impossible_vocabulary_size(vocab_size):
    with pytest.raises(ValueError, match=f"vocab_size must be between 514 and .* got {vocab_size}"):
        ClipTokenizer(vocab_size, 16)(["cat"])


def test_equals_open_clip_on_odd_texts():
    """Scripts, combining characters, entities, contractions, digits, broken encodings, special tokens, long words."""
    texts = [
        "\u732b \u304b\u3082 \U0001f600!!", "e\u0301te\u0301 na\u00efve \u00df \u0130", "a&amp;amp;b &lt;tag&gt;",
        "They'RE 'quoted' we'd've", "12345 3.14 \u0663\u0664", "caf\u00c3\u00a9 \u00e2\u0080\u0099", "\t new\nline  ",
        "<start_of_text> <END_OF_TEXT>x", "antidisestablishmentarianism" * 3, "aaaaaaaa banana ananas", "_-_ #$%~ @@",
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947",
    ]  # fmt: skip
    tokens = ClipTokenizer(49408, 77)(texts, truncate=True)
    assert torch.equal(tokens, open_clip.tokenize(texts)[:, : tokens.shape[1]])
    generator = random.Random(0)
    letters = "abcdefgh ijklmnop  qrstuvwxyz'-0123 \u00e9\u4e2d"
    texts = ["".join(generator.choices(letters, k=generator.randrange(40))) for _ in range(300)]
    tokens = ClipTokenizer(49408, 77)(texts)
    assert torch.equal(tokens, open_clip.tokenize(texts)[:, : tokens.shape[1]])


def test_all_names_of_lvis_equal_open_clip():
    texts = [f"a photo of a {category.name}." for category in load_categories("lvis_v1")]
    tokens = ClipTokenizer(49408, 77)(texts)
    assert torch.equal(tokens, open_clip.tokenize(texts)[:, : tokens.shape[1]])
