"""Out of memory: one retry in pieces, with the same result, then an error that names the size."""

import pytest
import torch

from masqclip_d2.meta_arch.out_of_memory import in_smaller_pieces


def _limited(limit):
    """Squares at most `limit` numbers at a time."""
    calls = []

    def square(items):
        calls.append(len(items))
        if len(items) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return [item * item for item in items]

    return square, calls


def test_all_items_at_once_if_they_fit():
    square, calls = _limited(8)
    assert in_smaller_pieces(square, [1, 2, 3], "images") == [1, 4, 9] and calls == [3]


def test_one_retry_in_pieces_has_the_same_result():
    square, calls = _limited(1)
    assert in_smaller_pieces(square, [1, 2, 3], "images") == [1, 4, 9] and calls == [3, 1, 1, 1]


def test_the_error_names_the_size():
    square, calls = _limited(0)
    with pytest.raises(RuntimeError, match=r"single one of 2 images of 640 x 480 pixels.*MIN_SIZE_TEST.*2.00 GiB"):
        in_smaller_pieces(square, [1, 2], "images of 640 x 480 pixels")
    assert calls == [2, 1]


def test_other_errors_are_not_retried():
    def broken(items):
        raise ValueError("no")

    with pytest.raises(ValueError, match="^no$"):
        in_smaller_pieces(broken, [1], "images")


def test_tensors_are_pieces_too():
    square, _ = _limited(1)
    assert torch.stack(in_smaller_pieces(square, torch.tensor([2, 3]), "masks")).tolist() == [4, 9]
