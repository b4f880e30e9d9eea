"""A model that is saved or uploaded is the same model when it is loaded again."""

import json

import numpy as np
import pytest

from masqclip_d2 import Predictor
from masqclip_d2.config import load_config


def labels(segmentation):
    return [(one.label, round(one.score, 4), one.area) for one in segmentation.segments]


def test_a_saved_model_gives_the_same_answer(tmp_path, toy):
    predictor, image, expected = toy
    predictor.save_pretrained(tmp_path / "model", license="apache-2.0")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"README.md", "config.yaml", "model.safetensors"}
    again = Predictor.from_pretrained(str(tmp_path / "model"), device="cpu")
    found = again(image, "dotted star,plain circle", stuff="grass")
    assert labels(found) == labels(expected) and np.array_equal(found.label_map(), expected.label_map())


def test_the_configuration_names_nothing_of_this_machine(tmp_path, toy):
    predictor, _, _ = toy
    predictor.save_pretrained(tmp_path, license="mit")
    cfg = load_config(tmp_path / "config.yaml")
    assert cfg.MODEL.WEIGHTS == "" and cfg.MODEL.MASQCLIP.CLIP.NAME == "masqclip://shapes_clip"
    assert str(tmp_path) not in (tmp_path / "config.yaml").read_text()


def test_half_is_half_the_size(tmp_path, toy):
    predictor, image, expected = toy
    sizes = []
    for half in (False, True):
        predictor.save_pretrained(tmp_path / str(half), license="mit", half=half)
        sizes.append((tmp_path / str(half) / "model.safetensors").stat().st_size)
    assert 0.45 < sizes[1] / sizes[0] < 0.55
    found = Predictor.from_pretrained(str(tmp_path / "True"), device="cpu")(image, "dotted star", stuff="grass")
    assert np.isfinite([one.score for one in found.segments]).all()


def test_upload_and_download(tmp_path, hub, toy):
    predictor, image, expected = toy
    metrics = {"shapes_val": {"panoptic_seg": {"PQ": 30.25, "PQ_novel": float("nan")}}}
    address = predictor.push_to_hub(
        "a-group/shapes.toy", license="apache-2.0", metrics=metrics, private=True, message="First"
    )
    assert address == f"{hub.url}/a-group/shapes.toy/commit/1" and hub.messages == ["First"]
    assert hub.private == {"a-group/shapes.toy": True} and hub.tokens == {"Bearer hf_of_the_test"}
    card = hub.repos["a-group/shapes.toy"]["README.md"].decode()
    assert "| shapes_val | panoptic_seg | PQ | 30.25 |" in card and "PQ_novel" not in card
    for name in ("hf://a-group/shapes.toy", "hf://a-group/shapes.toy@main"):
        found = Predictor.from_pretrained(name, device="cpu")(image, "dotted star,plain circle", stuff="grass")
        assert labels(found) == labels(expected)


def test_a_hub_that_refuses_is_one_sentence(hub, toy):
    hub.refusal = 403
    with pytest.raises(ValueError, match="The upload to a/b failed: .*You have no right to write here"):
        toy[0].push_to_hub("a/b", license="mit")


def test_a_hub_that_is_not_there_is_one_sentence(hub, toy, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="The upload to a/b failed: "):
        toy[0].push_to_hub("a/b", license="mit")


@pytest.mark.parametrize("repo", ["toy", "a/b/c", "a/b c", "/b"])
def test_names_of_repositories_are_checked_first(repo, toy):
    with pytest.raises(ValueError, match="OWNER/NAME"):
        toy[0].push_to_hub(repo, license="mit")


def test_what_is_missing_is_named(tmp_path, hub):
    with pytest.raises(FileNotFoundError, match=r"config.yaml"):
        Predictor.from_pretrained(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"nobody/nothing"):
        Predictor.from_pretrained("hf://nobody/nothing")


def test_metrics_of_a_results_file_are_in_the_card(tmp_path, toy):
    results = {"results": {"val": {"sem_seg": {"mIoU": 32.5, "mIoU_novel": None}}}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    toy[0].save_pretrained(tmp_path / "model", license="mit", metrics=tmp_path / "results.json")
    assert "| val | sem_seg | mIoU | 32.50 |" in (tmp_path / "model" / "README.md").read_text()
