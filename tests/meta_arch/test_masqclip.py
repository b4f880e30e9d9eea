"""MasQCLIP's options: class probabilities of tuned and untuned CLIP, and ground-truth masks in MasQ-Tuning."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from masqclip_d2.structures import MaskProposals
from masqclip_d2.vocabulary import Vocabulary
from tests.helpers import five_categories, random_image, tiny_config

WEIGHTS = ("MODEL.MASQCLIP.TEST.UNTUNED_WEIGHTS", "[0.4, 0.8]")


def _models(tmp_path, *opts):
    """A MasQCLIP with changed query projections, alone and with the untuned CLIP; the same parameters."""
    tuned = build_model(tiny_config(tmp_path, "MasQCLIP")).eval()
    with torch.no_grad():
        for attention in tuned.visual_encoder.mask_attentions:
            attention.mask_query_proj.weight.add_(torch.randn_like(attention.mask_query_proj.weight))
    both = build_model(tiny_config(tmp_path, "MasQCLIP", *WEIGHTS, *opts)).eval()
    both.load_state_dict(tuned.state_dict())
    return tuned, both


@torch.no_grad()
def test_both_embeddings_are_those_of_separate_models(tmp_path):
    tuned, both = _models(tmp_path)
    untuned = build_model(tiny_config(tmp_path, "MasQCLIP", "MODEL.MASQCLIP.MASQ_TUNING.PROJECTIONS", "[]")).eval()
    untuned.load_state_dict(tuned.state_dict(), strict=False)
    record = {"image": random_image(24, 32)}
    found = both.encode(record).mask_embeddings
    torch.testing.assert_close(found[:, 0], tuned.encode(record).mask_embeddings)
    torch.testing.assert_close(found[:, 1], untuned.encode(record).mask_embeddings)


@torch.no_grad()
def test_geometric_mean_has_one_weight_for_training_categories_and_one_for_others(tmp_path):
    _, both = _models(tmp_path)
    # Shapes trains on "striped circle"; "plain cat" is none of its categories.
    vocabulary = Vocabulary.from_names("striped circle,plain cat")
    embeddings = both.encode({"image": random_image(24, 32)}).mask_embeddings
    found = both.class_log_probs(embeddings, None, vocabulary).exp()
    probs = both.text_classifier.class_logits(embeddings, vocabulary, both.extra_class).softmax(-1)
    tuned, untuned = probs[:, 0], probs[:, 1]
    mean = torch.stack([tuned[:, 0] ** 0.6 * untuned[:, 0] ** 0.4, tuned[:, 1] ** 0.2 * untuned[:, 1] ** 0.8], dim=1)
    torch.testing.assert_close(found, mean / mean.sum(dim=1, keepdim=True))


def test_predictions_of_the_mean(tmp_path):
    _, both = _models(tmp_path)
    both.set_vocabulary(five_categories())
    [prediction] = both([{"image": random_image(24, 32)}])
    assert {"panoptic_seg", "instances", "sem_seg_labels"} <= prediction.keys()


@pytest.mark.parametrize("weights", ["[0.4]", "[0.4, 1.2]", "[0.1, 0.2, 0.3]"])
def test_other_weights_are_refused(tmp_path, weights):
    with pytest.raises(ValueError, match="two numbers in"):
        build_model(tiny_config(tmp_path, "MasQCLIP", "MODEL.MASQCLIP.TEST.UNTUNED_WEIGHTS", weights))


def _annotated():
    masks = torch.zeros(2, 24, 32, dtype=torch.bool)
    masks[0, :8, :8] = masks[1, 10:20, 10:30] = True
    instances = Instances((24, 32), gt_masks=BitMasks(masks), gt_classes=torch.tensor([1, 3]))
    return {"image": random_image(24, 32), "instances": instances}


@pytest.mark.parametrize("opts", [(), WEIGHTS])
def test_tuning_on_ground_truth_masks_does_not_run_the_proposer(tmp_path, monkeypatch, opts):
    ground_truth = ("MODEL.MASQCLIP.MASQ_TUNING.MASKS", "ground_truth")
    model = build_model(tiny_config(tmp_path, "MasQCLIP", *ground_truth, *opts)).train()
    model.set_vocabulary(five_categories())
    monkeypatch.setattr(model.proposer, "propose", lambda records: pytest.fail("the proposer ran"))
    losses = model([_annotated()])
    losses["loss_ce"].backward()
    assert all(model.get_parameter(name).grad.abs().sum() > 0 for name in _tuned(model))

    proposals = MaskProposals.from_binary_masks(_annotated()["instances"].gt_masks.tensor)
    model.tuning_masks = "proposals"
    monkeypatch.setattr(model.proposer, "propose", lambda records: [proposals])
    torch.testing.assert_close(model([_annotated()])["loss_ce"], losses["loss_ce"])


def _tuned(model):
    # The query of the last block alone changes every embedding.
    last = len(model.visual_encoder.mask_attentions) - 1
    return [f"visual_encoder.mask_attentions.{last}.mask_query_proj.weight"]


def test_unknown_tuning_masks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="proposals, ground_truth"):
        build_model(tiny_config(tmp_path, "MasQCLIP", "MODEL.MASQCLIP.MASQ_TUNING.MASKS", "boxes"))
