import torch

from masqclip_d2.structures import EncodedImage, MaskProposals
from masqclip_d2.web.encodings import Encodings, encoded_bytes


def encoded(count=10, coarse=False):
    """4 bytes for each of `count` masks of 5 x 5 pixels, their embeddings (5) and scores (1)."""
    masks = MaskProposals(torch.zeros(count, 5, 5), torch.zeros(count), (5, 5))
    return EncodedImage(torch.zeros(count, 5), masks, (5, 5), coarse=masks if coarse else None)


def test_size():
    assert encoded_bytes(encoded()) == 10 * 4 * (25 + 1 + 5)
    assert encoded_bytes(encoded(coarse=True)) == 10 * 4 * (25 + 1 + 5 + 25 + 1)


def test_the_least_recently_used_are_dropped():
    kept = Encodings(3 * 1240, 10)
    for key in "abc":
        kept.put("", key, encoded())
    assert kept.get("", "a") is not None and kept.num_bytes == 3 * 1240
    kept.put("", "d", encoded())
    assert [kept.has("", key) for key in "abcd"] == [True, False, True, True] and kept.num_bytes == 3 * 1240
    kept.put("", "large", encoded(100))
    assert not kept.has("", "large") and len(kept) == 3
    kept.put("", "a", encoded(5))
    assert kept.num_bytes == 2.5 * 1240


def test_sessions_have_a_share_and_are_apart():
    kept = Encodings(10**6, 2)
    for key in range(3):
        kept.put("one", key, encoded())
        kept.put("two", key, encoded())
    assert [kept.has("one", key) for key in range(3)] == [False, True, True] and len(kept) == 4
    kept.forget("one")
    assert kept.get("one", 2) is None and kept.has("two", 2) and kept.num_bytes == 2 * 1240
