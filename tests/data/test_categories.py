import pytest

from masqclip_d2.data.categories import load_categories
from masqclip_d2.data.shapes.outlines import OUTLINES
from masqclip_d2.data.shapes.patterns import PATTERNS
from masqclip_d2.data.shapes.textures import TEXTURES


def test_shapes_things_are_all_pairs_of_pattern_and_shape():
    things = [category for category in load_categories("shapes") if category.isthing]
    pairs = {(category.attributes["pattern"], category.attributes["shape"]) for category in things}
    assert pairs == {(pattern, shape) for pattern in PATTERNS for shape in OUTLINES}
    assert len(things) == 36
    assert all(f"{c.attributes['pattern']} {c.attributes['shape']}" == c.name for c in things)


def test_shapes_stuff_are_the_textures():
    stuff = [category.name for category in load_categories("shapes") if not category.isthing]
    assert stuff == list(TEXTURES)


def test_novel_categories():
    categories = load_categories("shapes")
    things = [category for category in categories if category.isthing]
    for category in things:
        if category.attributes["shape"] == "crescent" or category.attributes["pattern"] == "zigzag":
            assert category.novel
    held_out = [
        c for c in things if c.novel and c.attributes["shape"] != "crescent" and c.attributes["pattern"] != "zigzag"
    ]
    base = [category for category in things if not category.novel]
    assert len(held_out) == 4
    assert len(base) == 21
    # What is held out as a pair is seen apart: its shape with other patterns, its pattern on other shapes.
    for category in held_out:
        assert category.attributes["shape"] in {c.attributes["shape"] for c in base}
        assert category.attributes["pattern"] in {c.attributes["pattern"] for c in base}
    assert [c.name for c in categories if c.novel and not c.isthing] == ["water", "wood"]


def test_ids_ascend_with_gaps_and_colors_differ():
    categories = load_categories("shapes")
    ids = [category.id for category in categories]
    assert ids == sorted(set(ids))
    assert ids[-1] > len(ids)
    assert [category.contiguous_id for category in categories] == list(range(42))
    assert len({category.color for category in categories}) == 42
    assert [category.isthing for category in categories] == [True] * 36 + [False] * 6


def test_unknown_table_names_the_known_ones():
    with pytest.raises(ValueError, match="'shape'; known: .*shapes"):
        load_categories("shape")
