from dataclasses import replace

import pytest
from detectron2.data import MetadataCatalog

from masqclip_d2.categories.lists import CATEGORY_LISTS, category_list
from masqclip_d2.clip import ClipTokenizer
from masqclip_d2.data import registration  # noqa: F401  (registers)
from masqclip_d2.vocabulary import STYLES, Vocabulary, in_style, load_vocabulary, shipped_names
from masqclip_d2.vocabulary.prompts import TEMPLATES
from masqclip_d2.vocabulary.vocabulary import fold

PREFIX = "masqclip_"
VAL = [
    "coco_panoptic_val", "coco_instance_val_base48", "coco_instance_val_novel17", "coco_instance_val_instances65",
    "ade20k_sem_seg_val", "ade20k_instance_val", "ade20k_panoptic_val", "ade20k_full_sem_seg_val",
    "pascal_context_59_sem_seg_val", "pascal_context_459_sem_seg_val", "pascal_voc_20_sem_seg_val",
    "pascal_voc_21_sem_seg_val", "lvis_v1_val", "shapes_train", "shapes_val", "shapes_train_instances",
    "shapes_val_instances",
]  # fmt: skip


def synonyms_of(vocabulary, name):
    return vocabulary.synonyms[vocabulary.names.index(name)]


def test_every_list_has_every_style():
    assert shipped_names() == [f"{name}/{style}" for name in CATEGORY_LISTS for style in STYLES]
    for name in shipped_names():
        vocabulary, rows = load_vocabulary(name), category_list(name.split("/")[0])
        registered = name.endswith("/maskclip")
        assert vocabulary.names == tuple(row.name if registered else row.natural_name for row in rows)
        assert vocabulary.is_thing == tuple(row.isthing for row in rows)
        assert vocabulary.colors == tuple(row.color for row in rows)
        assert all(len(set(map(fold, words))) == len(words) for words in vocabulary.synonyms), name
        assert set(vocabulary.groups) == ({"base", "novel"} if 0 < sum(r.novel for r in rows) < len(rows) else set())


def test_style_maskclip_is_the_bare_registered_name():
    ade = load_vocabulary("ade20k_full/maskclip")
    assert synonyms_of(ade, "building, edifice") == ("building, edifice",)
    assert (ade.templates, ade.ensemble) == ("name", "first")
    assert synonyms_of(load_vocabulary("coco_panoptic/maskclip"), "tree-merged") == ("tree-merged",)


def test_style_masqclip_splits_names_and_has_natural_ones_for_coco():
    ade = load_vocabulary("ade20k_full/masqclip")
    assert synonyms_of(ade, "building, edifice") == ("building", "edifice")
    assert (ade.templates, ade.ensemble) == ("name", "mean")
    coco = load_vocabulary("coco_panoptic/masqclip")
    assert synonyms_of(coco, "wood floor") == ("wood floor",) and synonyms_of(coco, "person") == ("person",)
    assert all("-" not in word for words in coco.synonyms for word in words)
    assert synonyms_of(load_vocabulary("lvis_v1/masqclip"), "zucchini") == ("zucchini", "courgette")


@pytest.mark.parametrize(
    ("name", "category", "synonyms"),
    [
        ("coco_panoptic", "airplane", ("airplane", "airplanes")),
        ("coco_panoptic", "orange", ("orange fruit",)),
        ("coco_panoptic", "rug", ("rug",)),  # as in the table, so not written again
        ("coco_novel17", "scissors", ("scissor", "scissors")),
        ("ade20k", "sky", ("sky", "clouds")),
        ("ade20k", "stove", ("stove", "kitchen stove", "kitchen range", "cooking stove")),  # published twice
        ("ade20k_instance", "streetlight", ("streetlight", "street lamp")),  # "street lamp" of the 150
        ("ade20k_full", "road, route", ("road", "route", "street", "roads", "streets", "routes")),
        ("pascal_context_59", "light", ("lamp", "lamps", "bulb", "bulbs")),
        ("pascal_context_459", "light", ("lamp", "lamps")),
        ("pascal_voc_20", "tvmonitor", ("tvmonitor", "monitor", "tv")),  # Pascal Context's
        ("pascal_voc_21", "background", ("background",)),
        ("lvis_v1", "zucchini", ("zucchini", "courgette")),
        ("shapes", "dotted star", ("dotted star",)),
    ],
)
def test_style_openseg(name, category, synonyms):
    vocabulary = load_vocabulary(f"{name}/openseg")
    assert synonyms_of(vocabulary, category) == synonyms
    assert (vocabulary.templates, vocabulary.ensemble) == ("vild_14", "max")


def test_names_of_coco_are_natural_where_they_are_labels_only():
    published = load_vocabulary("coco_panoptic/maskclip")  # encodes the names as registered
    natural = load_vocabulary("coco_panoptic/openseg")
    changed = {(old, new) for old, new in zip(published.names, natural.names, strict=True) if old != new}
    assert len(changed) == 27 and ("building-other-merged", "building") in changed
    assert not any(suffix in name for name in natural.names for suffix in ("-merged", "-other", "-stuff"))
    assert load_vocabulary("coco_panoptic/masqclip").names == natural.names
    assert load_vocabulary("lvis_v1/openseg").names == load_vocabulary("lvis_v1/maskclip").names


def test_every_text_fits_the_77_tokens_of_published_clips():
    tokenizer = ClipTokenizer(49408, 77)
    longest = set()
    for name in shipped_names():
        vocabulary = load_vocabulary(name)
        words = {word for synonyms in vocabulary.synonyms for word in synonyms}
        longest.update(sorted(words, key=len)[-5:])
    template = max(tokenizer.num_tokens(text) for text in TEMPLATES["vild_14"])
    assert max(tokenizer.num_tokens(word) for word in longest) - 2 + template <= 77


@pytest.mark.parametrize("dataset", VAL)
@pytest.mark.parametrize("style", STYLES)
def test_every_registered_dataset_has_every_style(dataset, style):
    own = Vocabulary.from_metadata(MetadataCatalog.get(PREFIX + dataset))
    styled = in_style(own, style)
    assert (styled.names, styled.is_thing, styled.groups) == (own.names, own.is_thing, own.groups)
    assert (styled.ensemble, styled.templates) == {
        "maskclip": ("first", "name"), "masqclip": ("mean", "name"), "openseg": ("max", "vild_14"),
    }[style]  # fmt: skip
    assert style != "masqclip" or styled.synonyms == own.synonyms


def test_a_dataset_of_another_project_is_matched_by_its_names():
    """Detectron2's own COCO panoptic has no natural names; letter case and spaces do not matter."""
    published = replace(load_vocabulary("coco_panoptic/maskclip"), ensemble="", templates="", colors=())
    renamed = replace(published, names=("Person ", *published.names[1:]), synonyms=())
    styled = in_style(renamed, "masqclip")
    assert styled.names[0] == "Person " and synonyms_of(styled, "tree-merged")[0] == "tree"


def test_styles_of_a_users_categories():
    own = Vocabulary.from_names("cat|kitten,sofa")
    assert in_style(own, "maskclip").synonyms == (("cat",), ("sofa",))
    assert in_style(own, "masqclip").synonyms == (("cat", "kitten"), ("sofa",))
    with pytest.raises(ValueError, match=r"no OpenSeg names for these 2 categories \(cat, sofa, \.\.\.\)"):
        in_style(own, "openseg")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coco_panoptic/opensegg", "no vocabulary 'coco_panoptic/opensegg'.* Did you mean 'coco_panoptic/openseg'"),
        ("coco/maskclip", "LIST one of coco_panoptic, .*lvis_v1.* STYLE one of maskclip, masqclip, openseg"),
        ("missing.yaml", "There is no vocabulary file missing.yaml"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(FileNotFoundError, match=message):
        load_vocabulary(name)
