"""MaskCLIP and the CLIP baseline as whole models: predictions for any batch, vocabulary and source of masks."""

from dataclasses import replace

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.meta_arch import MaskCLIP, MaskProposer
from masqclip_d2.vocabulary import Vocabulary
from tests.helpers import five_categories, random_image, tiny_config


@pytest.fixture(params=["MaskCLIP", "ClipBaseline"])
def model(request, tmp_path):
    opts = ("MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0", "MODEL.MASQCLIP.TEST.CLASS_MAPS", "True")
    built = build_model(tiny_config(tmp_path, request.param, *opts))
    built.eval().set_vocabulary(five_categories())
    return built


def _records():
    sizes = [(40, 72), (64, 33), (1, 1)]
    return [{"image": random_image(h, w, seed), "height": 2 * h, "width": w} for seed, (h, w) in enumerate(sizes)]


def _assert_same_predictions(one, other):
    torch.testing.assert_close(one["sem_seg"], other["sem_seg"], atol=1e-4, rtol=1e-4)
    same = (one["panoptic_seg"][0] == other["panoptic_seg"][0]).float().mean()
    assert same > 0.99
    torch.testing.assert_close(one["instances"].scores, other["instances"].scores, atol=1e-4, rtol=1e-4)


def test_predictions_have_the_requested_size_and_the_vocabulary(model):
    for record, prediction in zip(_records(), model(_records()), strict=True):
        hw = (record["height"], record["width"])
        assert prediction["sem_seg"].shape == (5, *hw) and torch.isfinite(prediction["sem_seg"]).all()
        assert prediction["sem_seg_labels"].shape == hw and prediction["sem_seg_labels"].dtype == torch.int64
        torch.testing.assert_close(prediction["sem_seg_confidence"], prediction["sem_seg"].amax(0))
        assert (prediction["sem_seg_labels"] == prediction["sem_seg"].argmax(0)).float().mean() > 0.999
        ids, segments = prediction["panoptic_seg"]
        assert ids.shape == hw and ids.dtype == torch.int32
        assert set(ids.unique().tolist()) - {0} == {segment["id"] for segment in segments}
        assert prediction["instances"].image_size == hw
        assert (prediction["instances"].pred_classes < 3).all()  # things only


def test_class_maps_are_given_on_request_only(model):
    model.tasks = replace(model.tasks, class_maps=False)
    prediction = model(_records()[:1])[0]
    assert "sem_seg" not in prediction and "sem_seg_labels" in prediction


@pytest.mark.parametrize("resize_masks_first", [True, False])
def test_no_prediction_depends_on_which_others_are_made(model, resize_masks_first):
    """Post-processing of each task is its own: alone or with the others, not a bit changes."""
    model.tasks = replace(model.tasks, resize_masks_first=resize_masks_first)
    tasks = ("semantic", "panoptic", "instance")
    together = model(_records())
    for task in tasks:
        model.tasks = replace(model.tasks, **{name: name == task for name in tasks})
        for alone, whole in zip(model(_records()), together, strict=True):
            assert set(alone) < set(whole)
            for name in set(alone) - {"panoptic_seg", "instances"}:
                assert torch.equal(alone[name], whole[name])
            if task == "panoptic":
                assert torch.equal(alone["panoptic_seg"][0], whole["panoptic_seg"][0])
                assert alone["panoptic_seg"][1] == whole["panoptic_seg"][1]
            if task == "instance":
                for field, value in alone["instances"].get_fields().items():
                    other = whole["instances"].get(field)
                    assert torch.equal(getattr(value, "tensor", value), getattr(other, "tensor", other))


def test_batch_of_differing_sizes_equals_one_by_one(model):
    together = model(_records())
    for record, prediction in zip(_records(), together, strict=True):
        _assert_same_predictions(prediction, model([record])[0])


def test_vocabulary_of_one_category(model):
    model.set_vocabulary(Vocabulary.from_names("thing"))
    prediction = model(_records()[:1])[0]
    assert prediction["sem_seg"].shape[0] == 1 and (prediction["instances"].pred_classes == 0).all()


def test_vocabulary_switches_between_calls(model):
    first = model(_records()[:1])[0]["sem_seg"]
    model.set_vocabulary(Vocabulary.from_names("a,b,c"))
    assert model(_records()[:1])[0]["sem_seg"].shape[0] == 3
    model.set_vocabulary(five_categories())
    torch.testing.assert_close(model(_records()[:1])[0]["sem_seg"], first)


def test_order_of_categories_permutes_the_class_maps(model):
    """Reversing the categories reverses the maps."""
    names = ["striped circle", "dotted star", "plain cross"]
    model.set_vocabulary(Vocabulary.from_names(names))
    forwards = model(_records()[:1])[0]["sem_seg"]
    model.set_vocabulary(Vocabulary.from_names(names[::-1]))
    torch.testing.assert_close(model(_records()[:1])[0]["sem_seg"].flip(0), forwards, atol=1e-5, rtol=1e-5)


def test_without_a_vocabulary_the_remedy_is_named(model):
    model.vocabulary = None
    with pytest.raises(RuntimeError, match="set_vocabulary"):
        model(_records())


def test_training_mode_is_refused(model):
    with pytest.raises(RuntimeError, match="nothing to train"):
        model.train()(_records())


def test_nothing_requires_a_gradient(model):
    assert not [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize("extra", ["", "background"])
def test_extra_class_competes_and_is_dropped(tmp_path, extra):
    model = build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.TEST.EXTRA_CLASS", extra)).eval()
    log_probs = model.class_log_probs(torch.randn(4, 16), torch.ones(4), five_categories())
    probs = model.class_scores(log_probs, five_categories()).probs
    total = probs.sum(1)
    assert probs.shape == (4, 5)
    assert (total < 1 - 1e-6).all() if extra else torch.allclose(total, torch.ones(4))


def test_object_score_multiplies(tmp_path):
    opts = ("MODEL.MASQCLIP.TEST.OBJECT_SCORE", "True")
    model = build_model(tiny_config(tmp_path, "MaskCLIP", *opts)).eval()
    embeddings, scores = torch.randn(2, 16), torch.tensor([0.25, 1.0])
    total = model.class_log_probs(embeddings, scores, five_categories()).exp().sum(1)
    torch.testing.assert_close(total, scores)


def test_unknown_source_of_proposals_is_refused(tmp_path):
    with pytest.raises(ValueError, match="PROPOSER.SOURCE is 'oracle'"):
        build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "oracle"))


def test_number_of_instances_can_be_set_and_reset(model):
    configured = model.tasks.topk
    model.set_detections_per_image(2)
    assert len(model(_records()[:1])[0]["instances"]) <= 2 == model.tasks.topk
    model.set_detections_per_image(None)
    assert model.tasks.topk == configured


def test_tasks_of_evaluation_are_those_of_the_configuration(tmp_path):
    opts = ("MODEL.MASK_FORMER.TEST.INSTANCE_ON", "False", "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True")
    cfg = tiny_config(tmp_path, "MaskCLIP", *opts, "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True")
    assert MaskCLIP.evaluation_tasks(cfg) == ("panoptic", "semantic")
    cfg.MODEL.MASQCLIP.PROPOSER.SOURCE = "ground_truth"
    assert MaskCLIP.evaluation_tasks(cfg) == ("panoptic", "semantic", "mask_classification")
    assert MaskProposer.evaluation_tasks(cfg) == ("proposals",)


def test_fusion_that_does_not_fit_is_one_sentence(model, monkeypatch):
    def full(*args):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr("masqclip_d2.meta_arch.open_vocabulary.fuse", full)
    with pytest.raises(RuntimeError, match=r"^Out of memory with \d+ masks at 80 x 72 pixels"):
        model(_records()[:1])
