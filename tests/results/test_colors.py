"""Colors of categories: a rule of names, distinct, and safe for color blindness."""

from itertools import combinations

import numpy as np

from masqclip_d2.results.colors import PALETTE, category_colors, instance_colors, shade
from masqclip_d2.vocabulary import Vocabulary

# Linear RGB as protanopes, deuteranopes and tritanopes see it (Machado, Oliveira and Fernandes 2009, severity 1).
VIEWS = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def colors_of(names, **settings):
    vocabulary = Vocabulary(tuple(names), (True,) * len(names), **settings)
    return dict(zip(vocabulary.names, category_colors(vocabulary), strict=True))


def test_the_order_of_the_vocabulary_does_not_matter():
    names = [f"category {number}" for number in range(40)]
    assert colors_of(names) == colors_of(names[::-1])
    assert colors_of(["Dog", "cat"])["Dog"] == colors_of(["cat", "dog"])["dog"]


def test_all_categories_of_a_vocabulary_have_other_colors():
    assert set(colors_of([str(number) for number in range(20)]).values()) == set(PALETTE)
    assert len(set(colors_of([f"category {number}" for number in range(10_000)]).values())) == 10_000


def test_colors_of_the_vocabulary_come_first_and_are_not_given_twice():
    taken = colors_of(["a"])["a"]
    found = colors_of(["a", "b"], colors=(None, taken))
    assert found["b"] == taken and found["a"] != taken and found["a"] in PALETTE


def test_the_palette_is_distinct_for_the_color_blind():
    values = np.array(PALETTE) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.einsum("vij,nj->vni", VIEWS, linear), 0, 1)
    oklab = np.cbrt(seen @ TO_LMS.T) @ TO_OKLAB.T  # (views, colors, 3)
    least = min(
        np.linalg.norm(oklab[:, one] - oklab[:, other], axis=1).min()
        for one, other in combinations(range(len(PALETTE)), 2)
    )
    assert least > 0.069


def test_instances_of_a_category_differ_in_shade():
    vocabulary = Vocabulary.from_names("cat,dog")
    cat, dog = category_colors(vocabulary)
    found = instance_colors(vocabulary, [0, 1, 0, 0, 1])
    assert found[0] == cat and found[1] == dog and len(set(found)) == 5
    assert found[2] == shade(cat, 1) and found[4] == shade(dog, 1)
    assert shade((0, 100, 200), 1) == (102, 162, 222) and shade((0, 100, 200), 2) == (0, 70, 140)
    assert shade((200, 200, 100), 1) == (120, 120, 60)  # bright colors become darker first
