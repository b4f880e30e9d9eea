"""Background prompts, the extra class and the ensemble of synonyms in whole models, in evaluation and training."""

from dataclasses import replace

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from masqclip_d2.structures import MaskProposals
from masqclip_d2.vocabulary import Vocabulary
from tests.helpers import random_image, tiny_config

ALL_TASKS = (
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0",
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0",
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON", "True",
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True",
)  # fmt: skip
WORDS = Vocabulary(("cat", "grass"), (True, False))
# Class logits of four masks by hand: cat, grass, the background prompts shadow and hand, the extra class.
LOGITS = torch.tensor([
    [3.0, 1.0, 0.0, 0.0, 0.0],  # cat
    [1.0, 0.0, 2.0, 0.0, 0.0],  # shadow
    [1.0, 2.0, 0.0, 0.0, 4.0],  # the extra class, then grass
    [0.0, 1.0, 0.0, 3.0, 4.0],  # the extra class, then hand
])  # fmt: skip


@pytest.fixture
def make(tmp_path, monkeypatch):
    def make(name, extra="", background_prompts=("shadow", "hand")):
        """A model whose class logits are those above, and a vocabulary for it."""
        model = build_model(tiny_config(tmp_path, name, *ALL_TASKS, "MODEL.MASQCLIP.TEST.EXTRA_CLASS", extra)).eval()
        columns = [0, 1, *range(2, 2 + len(background_prompts)), *([4] if extra else [])]

        def class_logits(embeddings, vocabulary, extra_class=None):
            assert vocabulary.background_prompts == background_prompts and extra_class == (extra or None)
            return LOGITS[: len(embeddings), columns]

        monkeypatch.setattr(model.text_classifier, "class_logits", class_logits)
        return model, replace(WORDS, background_prompts=background_prompts)

    return make


def predict(model, vocabulary, tasks=None):
    """Predictions for an image of four quarters, each of which is a mask."""
    masks = torch.zeros(4, 8, 8, dtype=torch.bool)
    for index in range(4):
        masks[index, 4 * (index // 2) :, 4 * (index % 2) :][:4, :4] = True
    encoded = model.encode({"image": random_image(8, 8)}, MaskProposals.from_binary_masks(masks))
    return model.predict(encoded, vocabulary, tasks)


@pytest.mark.parametrize("name", ["MaskCLIP", "MasQCLIP", "ClipBaseline"])
@pytest.mark.parametrize("extra", ["", "background"])
def test_background_prompts_take_their_share_of_the_softmax(make, name, extra):
    model, vocabulary = make(name, extra)
    log_probs = model.class_log_probs(torch.zeros(4, 16), torch.ones(4), vocabulary)
    scores = model.class_scores(log_probs, vocabulary).probs
    all_probs = LOGITS[:, : 5 if extra else 4].softmax(1)
    torch.testing.assert_close(scores, all_probs[:, :2])
    found = predict(model, vocabulary)
    assert found["sem_seg_labels"].max() <= 1 and found["instances"].pred_classes.tolist() == [0] * 2
    expected = all_probs[[0, 2], 0].sort(descending=True).values  # the second mask is a shadow, the fourth a hand
    torch.testing.assert_close(found["instances"].scores.sort(descending=True).values, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_what_background_prompts_win_is_unlabelled_and_listed_in_every_task(make, task):
    model, vocabulary = make("MaskCLIP")
    found = predict(model, vocabulary, replace(model.tasks.only(task), score_threshold=0.01))
    rejected = {(one.prompt, one.box_xyxy) for one in found["rejected"][task]}
    assert rejected == {(0, (4, 0, 8, 4)), (1, (4, 4, 8, 8))} and set(found["rejected"]) == {task}
    assert all(one.area == 16 for one in found["rejected"][task])
    probs = LOGITS[:, :4].softmax(1)
    scores = {one.prompt: one.score for one in found["rejected"][task]}
    assert scores == {0: pytest.approx(probs[1, 2].item(), abs=2e-3), 1: pytest.approx(probs[3, 3].item(), abs=2e-3)}
    if task == "semantic":
        labelled = found["sem_seg_confidence"] > 0
    elif task == "panoptic":
        labelled = found["panoptic_seg"][0] > 0
    else:
        labelled = found["instances"].pred_masks.any(dim=0)
    assert labelled[:, :4].all() and not labelled[:, 4:].any()


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
@pytest.mark.parametrize(("threshold", "expected"), [(0.0, 0), (0.25, 1), (0.5, 2), (0.99, 4)])
def test_the_unknown_threshold_says_how_sure_a_category_must_be(make, task, threshold, expected):
    """Shares of the category: 0.95, 0.27, 0.88 and 0.12."""
    model, vocabulary = make("MaskCLIP")
    tasks = replace(model.tasks.only(task), unknown_threshold=threshold)
    found = predict(model, vocabulary, tasks)["rejected"][task]
    assert sum(one.area for one in found) == 16 * expected


def test_a_rejected_mask_keeps_its_pixels_from_masks_behind_it(make):
    """Quarter 2 is a shadow; a weaker mask of a cat that covers everything does not get it."""
    model, vocabulary = make("MaskCLIP")
    masks = torch.ones(2, 8, 8, dtype=torch.bool)
    masks[1, 4:] = False
    encoded = model.encode({"image": random_image(8, 8)}, MaskProposals.from_binary_masks(masks))
    probs = torch.tensor([[0.4, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]])
    model.class_log_probs = lambda *_arguments: probs.log()
    found = model.predict(encoded, vocabulary)
    ids, [cat] = found["panoptic_seg"]
    assert cat["area"] == 32 and cat["id"] == 1 and not ids[:4].any() and (ids[4:] == 1).all()
    assert [(one.prompt, one.area) for one in found["rejected"]["panoptic"]] == [(0, 32)]
    assert torch.equal(found["sem_seg_confidence"] > 0, ids > 0)


def kept(model, vocabulary):
    """Quarters of the image that have a panoptic segment."""
    ids, segments = predict(model, vocabulary)["panoptic_seg"]
    assert {segment["category_id"] for segment in segments} <= {0, 1}
    return [bool(ids[4 * (index // 2), 4 * (index % 2)]) for index in range(4)]


@pytest.mark.parametrize(
    ("name", "extra", "background_prompts", "expected"),
    [
        ("MaskCLIP", "", (), [True, True, True, True]),
        ("MaskCLIP", "", ("shadow", "hand"), [True, False, True, False]),
        ("MaskCLIP", "other", (), [True, True, False, False]),
        ("MaskCLIP", "other", ("shadow", "hand"), [True, False, False, False]),
        # The extra class of MasQCLIP rejects nothing; background prompts do.
        ("MasQCLIP", "background", (), [True, True, True, True]),
        ("MasQCLIP", "background", ("shadow", "hand"), [True, False, True, False]),
    ],
)
def test_background_prompts_reject_panoptic_segments(make, name, extra, background_prompts, expected):
    assert kept(*make(name, extra, background_prompts)) == expected


def test_no_masks(make):
    model, vocabulary = make("MasQCLIP", "background")
    scores = model.class_scores(model.class_log_probs(torch.zeros(0, 16), torch.ones(0), vocabulary), vocabulary)
    assert scores.probs.shape == (0, 2) and scores.background_probs.shape == (0, 2) and scores.reject_probs is None
    encoded = model.encode({"image": random_image(8, 8)}, MaskProposals.from_binary_masks(torch.zeros(0, 8, 8) > 0))
    found = model.predict(encoded, vocabulary)
    assert found["rejected"] == {"semantic": [], "panoptic": [], "instance": []}
    assert not found["sem_seg_confidence"].any()


def test_background_prompts_in_training_count_as_none(make):
    """The softmax of the last column is the sum of the extra class and the background prompts."""
    model, vocabulary = make("MasQCLIP", "background")
    logits = model.training_class_logits(torch.zeros(4, 16), vocabulary, "background")
    probs = LOGITS.softmax(1)
    torch.testing.assert_close(logits.softmax(1), torch.cat([probs[:, :2], probs[:, 2:].sum(1, keepdim=True)], 1))
    model, vocabulary = make("MasQCLIP", "background", ())
    torch.testing.assert_close(
        model.training_class_logits(torch.zeros(4, 16), vocabulary, "background"), LOGITS[:, [0, 1, 4]]
    )


@pytest.mark.parametrize("ensemble", ["first", "mean", "max"])
@pytest.mark.parametrize("name", ["MaskCLIP", "MasQCLIP"])
def test_models_learn_with_every_ensemble_templates_and_background_prompts(tmp_path, name, ensemble):
    model = build_model(tiny_config(tmp_path, name, "MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]"))
    names = Vocabulary.from_names("cat|kitten,dog|puppy|hound", stuff="grass")
    model.set_vocabulary(replace(names, ensemble=ensemble, templates=("a {}", "the {}"), background_prompts=("hand",)))
    masks = torch.zeros(2, 32, 40, dtype=torch.bool)
    masks[0, :10, :12] = masks[1, 12:, 5:] = True
    instances = Instances((32, 40), gt_masks=BitMasks(masks), gt_classes=torch.tensor([1, 2]))
    losses = model.train()([{"image": random_image(32, 40), "instances": instances}])
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", ["MaskCLIP", "MasQCLIP", "ClipBaseline"])
def test_max_is_the_best_of_vocabularies_with_one_synonym_each(tmp_path, name):
    model = build_model(tiny_config(tmp_path, name, "MODEL.MASQCLIP.TEXT.ENSEMBLE", "max")).eval()
    embeddings = torch.randn(5, 16)

    def logits(names):
        return model.text_classifier.class_logits(embeddings, Vocabulary.from_names(names), "other")

    best = torch.maximum(logits("cat,dog"), logits("kitten,hound"))
    best = torch.maximum(best, logits("cat,puppy"))
    torch.testing.assert_close(logits("cat|kitten,dog|hound|puppy"), best)
