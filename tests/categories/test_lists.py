import pytest

from masqclip_d2.categories.lists import CATEGORY_LISTS, category_list


@pytest.mark.parametrize(
    ("name", "count", "things", "novel"),
    [
        ("coco_panoptic", 133, 80, 0),
        ("coco_base48", 48, 48, 0),
        ("coco_novel17", 17, 17, 17),
        ("coco_instances65", 65, 65, 17),
        ("ade20k", 150, 100, 0),
        ("ade20k_instance", 100, 100, 0),
        ("ade20k_full", 847, 0, 0),
        ("pascal_context_59", 59, 0, 0),
        ("pascal_context_459", 459, 0, 0),
        ("pascal_voc_20", 20, 20, 0),
        ("pascal_voc_21", 21, 20, 0),
        ("lvis_v1", 1203, 1203, 337),
        ("shapes", 42, 36, 18),
        ("shapes_base", 24, 20, 0),
        ("shapes_instances", 36, 36, 16),
        ("shapes_base_instances", 20, 20, 0),
    ],
)
def test_lists(name, count, things, novel):
    rows = category_list(name)
    assert (len(rows), sum(r.isthing for r in rows), sum(r.novel for r in rows)) == (count, things, novel)
    assert [row.contiguous_id for row in rows] == list(range(count))


def test_every_list_is_tested_and_no_two_have_the_same_names():
    assert len(CATEGORY_LISTS) == len({tuple(row.name for row in category_list(name)) for name in CATEGORY_LISTS}) == 16


def test_names_of_the_instance_challenge_and_background():
    assert {row.id: row.name for row in category_list("ade20k_instance")}[8] == "windowpane"
    assert category_list("pascal_voc_21")[0].name == "background" and category_list("pascal_voc_21")[1].id == 1


def test_unknown_list():
    with pytest.raises(ValueError, match="'coco'; known: coco_panoptic, .*lvis_v1"):
        category_list("coco")
