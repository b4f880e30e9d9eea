import importlib.util
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from masqclip_d2 import Predictor, Vocabulary
from masqclip_d2.checkpoint import local_weights_path
from masqclip_d2.config import load_config
from masqclip_d2.presets import PRESETS, ToyNotice, find_preset, preset_weights


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_configuration_of_its_own_weights(name, monkeypatch):
    preset = PRESETS[name]
    cfg = load_config(preset.config, preset.options())
    assert preset.masks and preset.license and preset.clip and preset.clip_license
    importlib.import_module("open_clip")  # which uses what is replaced next
    installed = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: installed(package) or package)  # all extras are
    weights = preset_weights(preset)
    assert [each.source for each in weights][0] == cfg.MODEL.MASQCLIP.CLIP.NAME
    assert len(weights) == (1 if preset.needs else 3 if preset.extra else 2)  # EoMT has a configuration file
    assert (preset.download > 0) == any(each.file is not None for each in weights)


def test_photos_is_the_released_r50_with_the_large_clip():
    preset = find_preset("photos")
    clip, masks = (each.source for each in preset_weights(preset))
    assert masks.endswith("/coco/panoptic/maskformer2_R50_bs16_50ep/model_final_94dc52.pkl")
    assert clip == "ViT-L/14@336px"
    cfg = load_config(preset.config)
    assert cfg.MODEL.META_ARCHITECTURE == "MaskCLIP" and not cfg.MODEL.MASQCLIP.RMA.LAYERS
    assert (cfg.MODEL.MASQCLIP.TEXT.TEMPLATES, cfg.MODEL.MASQCLIP.TEXT.ENSEMBLE) == ("clip_imagenet_80", "max")


def test_models_for_photographs_reject_what_is_none_of_the_categories_and_others_do_not():
    for preset in PRESETS.values():
        ours = load_config(preset.config).MODEL.MASQCLIP
        found = (ours.TEXT.BACKGROUND_PROMPTS, ours.TEXT.BACKGROUND_TEMPLATES, ours.TEST.DUPLICATE_IOU)
        assert found == (("coco_lvis", "single", 0.8) if preset.config.startswith("photos/") else ("", "", 1.0))


def test_an_extra_that_is_not_installed_is_named_before_weights_are_looked_for(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    preset = find_preset("photos-eomt")
    assert preset.to_install == "pip install 'masqclip_d2[eomt]'" and not find_preset("photos").to_install
    with pytest.raises(ImportError, match=r"masqclip_d2\[eomt\]"):
        Predictor.from_pretrained("photos-eomt")


def test_a_misspelt_model_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'photos'.*masqclip models"):
        find_preset("photoss")
    with pytest.raises(ValueError, match="Known: shapes, photos"):
        Predictor.from_pretrained("segment-everything")


def test_models_of_other_people_need_their_file():
    with pytest.raises(ValueError, match="authors' file.*CC BY-NC"):
        Predictor.from_pretrained("maskclip")


def test_files_on_this_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("MASQCLIP_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert all(each.path.is_file() for each in preset_weights(find_preset("shapes")))
    assert [each.path for each in preset_weights(find_preset("photos"))] == [None, None]


@pytest.mark.parametrize(
    ("names", "image_hw", "reason"),
    [
        ("dog,plain circle", (128, 128), "it has never seen dog"),
        ("dog,cat,cow,horse", (128, 128), "dog, cat, cow and 1 more"),
        ("plain circle", (480, 640), "at most 352 pixels"),
        ("plain circle|disc,grass", (352, 256), None),
    ],
)
def test_the_toy_model_says_what_it_does_not_know(caplog, names, image_hw, reason):
    notice, vocabulary = ToyNotice(), Vocabulary.from_names(names)
    with caplog.at_level(logging.WARNING):
        notice.give(vocabulary, image_hw)
        notice.give(vocabulary, image_hw)
    assert len(caplog.records) == (reason is not None)  # once
    if reason:
        assert reason in caplog.text and "--model photos" in caplog.text


def test_the_included_weights_give_the_notice_and_those_of_a_training_do_not(caplog, tmp_path):
    from PIL import Image

    own = shutil.copy(local_weights_path("masqclip://shapes_masqclip"), tmp_path)
    for weights, given in ((own, False), (None, True)):
        predictor = Predictor("shapes/masqclip", weights=weights) if weights else Predictor()
        with caplog.at_level(logging.WARNING):
            predictor(Image.new("RGB", (64, 64)), "person")
        assert ("never seen person" in caplog.text) == given


@pytest.mark.parametrize(("size", "seen"), [((1500, 900), (704, 422)), ((3, 4000), (1, 704)), ((300, 352), (300, 352))])
def test_the_toy_sees_large_images_shrunk(monkeypatch, size, seen):
    """Its networks gain nothing from more pixels; predictions have the size of the image."""
    predictor, shapes = Predictor(device="cpu", opts=["INPUT.MIN_SIZE_TEST", "0"]), []
    propose = predictor.model.proposer.propose

    def spy(records):
        shapes.extend(tuple(record["image"].shape[-2:]) for record in records)
        return propose(records)

    monkeypatch.setattr(predictor.model.proposer, "propose", spy)
    result = predictor(np.full((*size, 3), 90, dtype=np.uint8), "striped circle", stuff="grass")
    assert shapes == [seen] and result.label_map().shape == size


def test_the_models_page_has_every_model_with_its_license_and_size():
    page = (Path(__file__).resolve().parent.parent / "docs/models.md").read_text()
    table = page.split("## Included")[0]
    rows = {line.split("`")[1]: line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")}
    assert rows.keys() == PRESETS.keys()
    for name, preset in PRESETS.items():
        _, masks, clip, download, measured = (cell.strip() for cell in rows[name])
        assert masks.endswith(f"; {preset.license}"), name
        assert preset.clip_license.startswith(clip.rpartition("; ")[2].rstrip(")")), name
        assert download == (f"{preset.download} MB" if preset.download else "none"), name
        assert measured, name
