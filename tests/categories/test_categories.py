import pytest

from masqclip_d2.categories import label_color, load_categories, refuse_repeated
from masqclip_d2.shapes.rendering.outlines import OUTLINES
from masqclip_d2.shapes.rendering.patterns import PATTERNS
from masqclip_d2.shapes.rendering.textures import TEXTURES


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
    """Novel: two whole shapes, one whole pattern, two of six kinds of stuff; all that is left is base."""
    categories = load_categories("shapes")
    for category in categories:
        shape, pattern = (category.attributes.get(key) for key in ("shape", "pattern"))
        of_a_new_kind = shape in ("cross", "crescent") or pattern == "zigzag" or category.name in ("water", "wood")
        assert category.novel == of_a_new_kind, category.name
    assert sum(category.novel for category in categories) == 18
    base = [category for category in categories if category.isthing and not category.novel]
    assert {category.attributes["shape"] for category in base} == {"circle", "square", "triangle", "star"}
    assert len({category.attributes["pattern"] for category in base}) == 5 and len(base) == 20


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


@pytest.mark.parametrize(
    "table, things, stuff",
    [
        ("shapes", 36, 6),
        ("coco", 80, 53),
        ("ade20k", 100, 50),
        ("ade20k_full", 0, 847),
        ("pascal_context_59", 0, 59),
        ("pascal_context_459", 0, 459),
        ("pascal_voc", 20, 0),
        ("lvis_v1", 1203, 0),
    ],
)
def test_counts_order_and_colors_of_every_table(table, things, stuff):
    categories = load_categories(table)
    assert sum(category.isthing for category in categories) == things
    assert len(categories) == things + stuff
    ids = [category.id for category in categories]
    assert ids == sorted(set(ids))
    assert len({category.color for category in categories}) == len(categories)
    assert all(0 <= value <= 255 for category in categories for value in category.color)
    assert all(category.synonyms and all(category.synonyms) for category in categories)
    assert all(category.name == " ".join(category.name.split()) and "_" not in category.name for category in categories)


def test_ade20k_rows():
    categories = load_categories("ade20k")
    names = [category.name for category in categories]
    assert (names[0], names[7], names[8], names[149]) == ("wall", "bed", "window", "flag")
    assert [c.isthing for c in categories][5:9] == [False, False, True, True]  # things are not first
    instance_ids = [c.attributes["instance_id"] for c in categories if c.isthing]
    assert instance_ids == list(range(1, 101))
    assert categories[6].synonyms == ("road", "route")
    assert categories[6].color != categories[48].color  # road and skyscraper, alike as registered elsewhere


def test_rows_of_the_other_tables():
    full = load_categories("ade20k_full")
    assert (full[255].name, full[0].attributes["ade_id"]) == ("pier", 2978)
    fewer = load_categories("pascal_context_59")
    more = load_categories("pascal_context_459")
    assert (more[255].name, more[430].name) == ("monkey", "unknown")
    # One class goes by two names.
    differing = {c.name: more[c.attributes["label_459"] - 1].name for c in fewer}
    assert {ours: theirs for ours, theirs in differing.items() if ours != theirs} == {"diningtable": "table"}
    lvis = load_categories("lvis_v1")
    assert [sum(c.attributes["frequency"] == f for c in lvis) for f in "fcr"] == [405, 461, 337]
    assert lvis[-1].id == 1203 and lvis[161].synonyms == ("horned cow",) and lvis[161].name == "bull"
    coco = {category.name: category for category in load_categories("coco")}
    assert coco["sky-other-merged"].synonyms == ("sky", "clouds") and coco["person"].synonyms == ("person",)


def test_colors_of_pascal_vocs_map():
    assert [label_color(label) for label in (0, 1, 2, 4, 15, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 128), (192, 128, 128), (224, 224, 192),
    ]  # fmt: skip
    assert load_categories("pascal_voc")[14].color == label_color(15)


def test_repeated_names_are_refused():
    rows = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}]
    with pytest.raises(ValueError, match="^my.json has the category name 'cat' more than once"):
        refuse_repeated(rows, "my.json")
    with pytest.raises(ValueError, match="category id 1 more than once"):
        refuse_repeated([{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], "my.json")
