"""Figures count and label the predictions of models with known predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances
from PIL import Image

from masqclip_d2.checkpoint import StrictCheckpointer
from masqclip_d2.config import load_config
from masqclip_d2.losses.pseudo_masks import PseudoMaskRules
from masqclip_d2.results import Segment, Segmentation
from masqclip_d2.vocabulary import Vocabulary
from projects.figures import draw_demo, draw_panoptic, draw_proposals, draw_pseudo_masks, draw_refinement, predictions
from projects.figures.scenes import first_scenes, segment_masks, things


@pytest.fixture
def drawn(monkeypatch):
    """Content of the drawn figures: marks of every panel, titles and captions of the sheet."""
    seen = SimpleNamespace(marks=[], titles=None, captions=None)
    panel, sheet = predictions.panel, predictions.sheet

    def watched_panel(image, marks, side):
        seen.marks.append(marks)
        return panel(image, marks, side)

    def watched_sheet(rows, titles, captions=None):
        seen.titles, seen.captions = titles, captions
        return sheet(rows, titles, captions)

    monkeypatch.setattr(predictions, "panel", watched_panel)
    monkeypatch.setattr(predictions, "sheet", watched_sheet)
    monkeypatch.setattr(predictions, "_NUM_SCENES", 6)
    monkeypatch.setattr(predictions, "_MIN_NOVEL", 1)
    return seen


def perfect_proposer(split, leave_out=lambda category: False):
    """A proposer that predicts the ground-truth segments of the first scenes, except some."""
    known = {scene.image.tobytes(): segment_masks(scene) for scene in first_scenes(12, split)}

    def propose(records):
        image = records[0]["image"].numpy().transpose(1, 2, 0)
        masks = [mask for category, mask in known[image.tobytes()] if not leave_out(category)]
        masks = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, *image.shape[:2], dtype=torch.bool)
        return [{"proposals": Instances(image.shape[:2], pred_masks=masks, scores=torch.ones(len(masks)))}]

    return propose


def test_proposals_are_counted(tmp_path, drawn):
    scenes = first_scenes(2, "val", lambda scene: len(things(scene)) >= 3)
    draw_proposals(perfect_proposer("val"), tmp_path / "all.png", columns=2)
    assert drawn.captions[1] == [f"{len(s.segments)} of {len(s.segments)} segments found" for s in scenes]
    draw_proposals(perfect_proposer("val", lambda category: category.isthing), tmp_path / "stuff.png", columns=2)
    stuff = [len(s.segments) - len(things(s)) for s in scenes]
    assert drawn.captions[1] == [f"{n} of {len(s.segments)} segments found" for n, s in zip(stuff, scenes, strict=True)]
    assert Image.open(tmp_path / "all.png").width == 1600


def test_repeated_proposals_are_left_out():
    masks = torch.zeros(3, 10, 10, dtype=torch.bool)
    masks[0, :5], masks[1, :6], masks[2, 6:] = True, True, True
    assert predictions._without_repetitions(masks) == [0, 2]
    assert predictions._without_repetitions(masks[:0]) == []


def test_pseudo_masks_are_labelled_with_the_novel_category_they_find(tmp_path, drawn):
    rules = PseudoMaskRules(score_threshold=0.5)
    draw_pseudo_masks(perfect_proposer("train"), rules, tmp_path / "pseudo.png", columns=2)
    labels = [mark for marks in drawn.marks for mark in marks if mark.label]
    novel = {c.name for s in first_scenes(6, "train") for c, _ in segment_masks(s) if c.novel}
    assert labels and {mark.label for mark in labels} <= novel and all(mark.emphasis for mark in labels)
    num_novel = sum(c.novel for s in first_scenes(6, "train") for c, _ in segment_masks(s))
    assert f"find one of {num_novel} novel segments" in drawn.titles[1]


def test_pseudo_masks_that_find_nothing_are_counted(tmp_path, drawn):
    def corner(records):
        mask = torch.zeros(1, *records[0]["image"].shape[-2:], dtype=torch.bool)
        mask[0, :3, :3] = True
        return [{"proposals": Instances(mask.shape[-2:], pred_masks=mask, scores=torch.ones(1))}]

    draw_pseudo_masks(corner, PseudoMaskRules(score_threshold=0.5), tmp_path / "pseudo.png", columns=2)
    assert {mark.label for marks in drawn.marks for mark in marks} <= {"", "?"}
    assert "scenes 0 find one of" in drawn.titles[1]


def perfect_predictor(category_of=lambda name: name):
    """A predictor of the ground truth of the first scenes, with changed categories if requested."""
    known = {scene.image.tobytes(): segment_masks(scene) for scene in first_scenes(12, "val")}

    def predict(image, vocabulary):
        segments = [
            Segment(category_of(c.name), c.contiguous_id, c.isthing, 1.0, mask)
            for c, mask in known[image.tobytes()]
        ]  # fmt: skip
        return Segmentation(image, vocabulary, "panoptic", segments)

    return predict


def test_panoptic_shows_ground_truth_and_prediction_with_novel_categories_marked(tmp_path, drawn):
    draw_panoptic(perfect_predictor(), "A method", tmp_path / "panoptic.png", columns=1)
    ground_truth, prediction = drawn.marks
    by_label = [{(m.label, m.color, m.emphasis) for m in marks} for marks in (ground_truth, prediction)]
    assert by_label[0] == by_label[1] and {emphasis for *_, emphasis in by_label[0]} == {True, False}
    assert drawn.titles[1].startswith("A method, with all 42 categories")
    draw_panoptic(perfect_predictor(lambda name: "plain circle"), "Wrong", tmp_path / "panoptic.png", columns=1)
    assert {(mark.label, mark.emphasis) for mark in drawn.marks[-1]} == {("plain circle", False)}


def test_demo_has_a_column_per_image(tmp_path, drawn):
    mask = np.zeros((30, 40), bool)
    mask[5:20, 5:20] = True

    def predict(path, vocabulary):
        segments = [Segment("zigzag crescent", 1, True, 0.9, mask)]
        return Segmentation(np.array(Image.open(path)), vocabulary, "panoptic", segments)

    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.new("RGB", (40, 30)).save(path)
    vocabulary = Vocabulary.from_names("plain cross,zigzag crescent", "sand")
    draw_demo(predict, paths, vocabulary, tmp_path / "demo.png")
    assert [len(marks) for marks in drawn.marks] == [0, 0, 1, 1] and drawn.marks[2][0].emphasis
    assert drawn.titles[1].endswith("plain cross, zigzag crescent, sand")


def maskclip(tmp_path, *opts):
    cfg = load_config("shapes/maskclip", ["MODEL.DEVICE", "cpu", *opts])
    model = build_model(cfg).eval()
    StrictCheckpointer(model, starts_training=True).load(cfg.MODEL.WEIGHTS)
    return model


def test_refinement_shows_masks_before_and_after(tmp_path, drawn):
    """Untrained RMA changes the masks of the shipped proposer slightly."""
    draw_refinement(maskclip(tmp_path), tmp_path / "refinement.png", columns=2)
    image, coarse, refined, truth = (drawn.marks[index::4] for index in range(4))
    assert image == [[], []] and len(coarse) == len(refined) == len(truth) == 2
    assert any((before[0].mask != after[0].mask).any() for before, after in zip(coarse, refined, strict=True))
    assert [len(row) for row in drawn.captions] == [2, 2, 2, 2] and drawn.captions[1][0].startswith("IoU ")
    assert (tmp_path / "refinement.png").is_file()


def test_a_model_without_refinement_cannot_be_shown(tmp_path):
    model = maskclip(tmp_path, "MODEL.MASQCLIP.RMA.REFINE_MASKS", "False")
    with pytest.raises(ValueError, match="does not refine masks"):
        draw_refinement(model, tmp_path / "refinement.png")


def test_the_window_of_a_mask_is_inside_the_image():
    mask = np.zeros((60, 80), bool)
    mask[:10, 70:] = True
    ys, xs = predictions._window(mask)
    assert (ys, xs) == (slice(0, 15), slice(65, 80)) and mask[ys, xs].sum() == mask.sum()
    mask[:] = True
    assert predictions._window(mask) == (slice(0, 60), slice(0, 80))
