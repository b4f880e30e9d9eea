import pickle

import open_clip
import pytest
import torch

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
