"""Names that other projects use are taken only when a run asks for them, and only where they are free."""

import subprocess
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2.data.registration import ALIASES, register_aliases, require_registered
from masqclip_d2.vocabulary import Vocabulary
from tests.forked import run_python


def test_all_of_them_stand_for_registered_datasets():
    assert set(ALIASES.values()) <= set(DatasetCatalog.list())
    assert not [name for name in ALIASES if name.startswith("masqclip_")]


def test_a_free_name_stands_for_our_dataset(forget):
    assert register_aliases(["ctx459_sem_seg_val", "masqclip_lvis_v1_val", "unheard_of"]) == ["ctx459_sem_seg_val"]
    ours, theirs = (
        MetadataCatalog.get(name) for name in ("masqclip_pascal_context_459_sem_seg_val", "ctx459_sem_seg_val")
    )
    assert theirs.name == "ctx459_sem_seg_val"
    assert {**ours.as_dict(), "name": ""} == {**theirs.as_dict(), "name": ""}
    assert len(Vocabulary.from_metadata(theirs)) == 459
    with pytest.raises(FileNotFoundError, match="masqclip_pascal_context_459_sem_seg_val"):
        DatasetCatalog.get("ctx459_sem_seg_val")
    assert register_aliases(["ctx459_sem_seg_val"]) == []  # a second time


def test_a_taken_name_is_left_alone(forget):
    DatasetCatalog.register("ade20k_full_sem_seg_val", lambda: [{"file_name": "theirs"}])
    MetadataCatalog.get("pascal_context_59_sem_seg_val").set(stuff_classes=["theirs"])  # metadata alone counts, too
    names = ["ade20k_full_sem_seg_val", "pascal_context_59_sem_seg_val", "ade20k_sem_seg_val"]
    assert register_aliases(names) == []
    assert DatasetCatalog.get("ade20k_full_sem_seg_val") == [{"file_name": "theirs"}]
    assert MetadataCatalog.get("ade20k_full_sem_seg_val").get("vocabulary") is None
    MetadataCatalog.remove("pascal_context_59_sem_seg_val")


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_project_with_customary_names_is_imported_before_or_after_us(order):
    """What Mask2Former's descendants do on import fails on a name that is taken; so we must take none."""
    ours = "import masqclip_d2"
    theirs = (
        "from detectron2.data import DatasetCatalog, MetadataCatalog\n"
        "names = ['ade20k_panoptic_val', 'ade20k_instance_val', 'ade20k_full_sem_seg_val',\n"
        "         'coco_2017_val_panoptic_with_sem_seg', 'openvocab_pascal20_sem_seg_val']\n"
        "for name in names:\n"
        "    DatasetCatalog.register(name, list)\n"
        "    MetadataCatalog.get(name).set(stuff_classes=['a'], ignore_label=7)"
    )
    # The bundled Detectron2 is importable once masqclip_d2 has been imported: its choice comes first in either case.
    first = "import masqclip_d2._compat as c; c.install()" if order == "before" else ours
    last = ours if order == "before" else "pass"
    words = ["-c", "\n".join([first, theirs, last])]
    if order == "before":
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    else:
        done = run_python(words)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_refused_with_those_like_it():
    require_registered(["masqclip_lvis_v1_val", "ade20k_sem_seg_val"])  # the second is Detectron2's
    with pytest.raises(ValueError, match=r"'masqclip_lvis_val' is not registered. Did you mean masqclip_lvis_v1_val"):
        require_registered(["masqclip_lvis_v1_val", "masqclip_lvis_val"])


def test_an_unknown_name_like_no_other_is_refused_with_all(forget):
    DatasetCatalog.register("my_scenes", list)
    MetadataCatalog.get("my_scenes").set(evaluator_type="sem_seg")
    with pytest.raises(ValueError, match=r"Registered: .*masqclip_.*my_scenes.*--import FILE") as caught:
        require_registered(["xyz"])
    assert "coco_2014_train" not in str(caught.value)
