import random

import numpy as np
import torch

from masqclip_d2.data.random_states import seed_all, seeded


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_equal_numbers_give_equal_randomness():
    drawn = []
    for numbers in ((1, 2), (1, 2), (2, 1), (1, 2, 0)):
        with seeded(*numbers):
            drawn.append(draw())
        seed_all(*numbers)
        assert draw() == drawn[-1]
    assert drawn[0] == drawn[1] and len({each for triple in drawn for each in triple}) == 9


def test_states_are_restored_also_after_an_error():
    seed_all(5)
    expected = draw()
    seed_all(5)
    try:
        with seeded(1):
            draw()
            raise KeyError
    except KeyError:
        pass
    assert draw() == expected
