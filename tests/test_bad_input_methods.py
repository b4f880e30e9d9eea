"""What the methods do with input that is not as it should be: right results, or one clear sentence.

MaskCLIP with RMA, MasQCLIP, and the stages of the proposer; all tiny. Files, words and configs are tested elsewhere.
"""

import json

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from masqclip_d2.checkpoint import StrictCheckpointer
from masqclip_d2.clip.vision_transformer import ClipVisionTransformer
from masqclip_d2.structures import MaskProposals
from masqclip_d2.visual_encoder import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.masq_attention import MasqAttention
from masqclip_d2.visual_encoder.relative_mask_attention import attentions_with_rma
from tests.helpers import TINY_CLIP, five_categories, random_image, tiny_config

ALL_TASKS = ("MODEL.MASK_FORMER.TEST.INSTANCE_ON", "True", "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True")
RMA = ("MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "0")
METHODS = {"MaskCLIP": RMA, "MasQCLIP": ()}
FROM_GROUND_TRUTH = ("MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth")


@pytest.fixture(params=METHODS)
def make_method(request, tmp_path):
    def make(*opts):
        model = build_model(tiny_config(tmp_path, request.param, *METHODS[request.param], *ALL_TASKS, *opts))
        model.set_vocabulary(five_categories())
        return model

    return make


def record(num_objects, hw=(32, 40), seed=0):
    """An image with objects that are bars side by side."""
    masks = torch.zeros(num_objects, *hw, dtype=torch.bool)
    for index, mask in enumerate(masks):
        mask[4:28, 8 * index : 8 * index + 8] = True
    instances = Instances(hw, gt_masks=BitMasks(masks), gt_classes=torch.arange(num_objects) % 5)
    return {"image": random_image(*hw, seed), "instances": instances}


def propose(model, mask_logits):
    """Let `model` get the same (Q, h, w) mask logits for every image."""

    def same(batched_inputs):
        return [
            MaskProposals(mask_logits, torch.ones(len(mask_logits)), tuple(one["image"].shape[-2:]))
            for one in batched_inputs
        ]

    model.proposer.propose = same


def train_step(model, records):
    """The losses, after a check that they and all gradients are finite and that nothing that learns was left out."""
    losses = model.train()(records)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:  # each process of a distributed run waits for all gradients
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    return losses


def gradients(model):
    return [parameter.grad for parameter in model.parameters() if parameter.requires_grad]


# No proposals (Q = 0).


def test_without_proposals_the_answer_is_empty(make_method):
    answer = make_method(*FROM_GROUND_TRUTH).eval()([record(0)])[0]
    assert answer["sem_seg_labels"].shape == (32, 40) and not answer["sem_seg_confidence"].any()
    ids, segments = answer["panoptic_seg"]
    assert ids.shape == (32, 40) and not ids.any() and segments == []
    assert len(answer["instances"]) == 0 and answer["instances"].pred_masks.shape == (0, 32, 40)


def test_without_proposals_nothing_is_taught(make_method):
    model = make_method(*FROM_GROUND_TRUTH)
    losses = train_step(model, [record(0), record(0, (24, 24))])
    assert all(loss == 0 for loss in losses.values())
    assert not any(gradient.any() for gradient in gradients(model))


def test_an_image_without_proposals_does_not_change_what_another_teaches(make_method):
    alone, together = make_method(*FROM_GROUND_TRUTH), make_method(*FROM_GROUND_TRUTH)
    together.load_state_dict(alone.state_dict())
    expected = train_step(alone, [record(2)])["loss_ce"]
    torch.testing.assert_close(train_step(together, [record(0, seed=1), record(2)])["loss_ce"], expected)


def test_objects_of_an_image_without_proposals_teach_nothing(make_method):
    """What fills up the batch is no proposal, so that no object may be matched with it."""

    def first_loss(annotated):
        model = make_method("MODEL.MASQCLIP.RMA.NO_OBJECT_WEIGHT", "0.1")
        model.load_state_dict(state)
        masks = [torch.zeros(0, 32, 40), torch.full((1, 32, 40), -10.0)]
        masks[1][0, 4:28, :8] = 10.0
        model.proposer.propose = lambda batch: [MaskProposals(m, torch.ones(len(m)), (32, 40)) for m in masks]
        return train_step(model, [record(annotated, seed=1), record(1)])["loss_ce"]

    state = make_method().state_dict()
    torch.testing.assert_close(first_loss(3), first_loss(0))


# Masks without a pixel.


def test_empty_masks_make_no_segments_and_leave_others_as_they_are(make_method):
    model = make_method().eval()
    masks = torch.randn(3, 8, 10) * 4
    masks[1] = -5.0
    found, alone = (MaskProposals(some, torch.ones(len(some)), (32, 40)) for some in (masks, masks[[0, 2]]))
    encoded, expected = (model.encode({"image": record(0)["image"]}, masks) for masks in (found, alone))
    embeddings, refined = encoded.mask_embeddings, encoded.proposals.mask_logits
    assert torch.isfinite(embeddings).all()
    torch.testing.assert_close(embeddings[[0, 2]], expected.mask_embeddings, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(refined[[0, 2]], expected.proposals.mask_logits, atol=1e-4, rtol=1e-4)
    propose(model, torch.full((3, 8, 10), -50.0))
    answer = model([{"image": record(0)["image"]}])[0]
    assert answer["panoptic_seg"][1] == [] and not answer["instances"].scores.any()
    assert torch.isfinite(answer["sem_seg_confidence"]).all()


@pytest.mark.parametrize("num_objects", [0, 2])
def test_empty_masks_in_training(make_method, num_objects):
    model = make_method()
    propose(model, torch.full((4, 8, 10), -5.0))
    train_step(model, [record(num_objects), record(2)])


# NaN in mask logits.


def test_nan_is_refused_at_test_and_in_training(make_method):
    model = make_method()
    masks = torch.randn(4, 8, 10)
    masks[2, 3, 3] = torch.nan
    propose(model, masks)
    for mode in (True, False):
        with pytest.raises(ValueError, match=r"mask_logits has NaN in masks \[2\]; check the weights"):
            model.train(mode)([record(2)])


@pytest.mark.parametrize("kind", ["plain", "rma", "masq"])
def test_in_the_encoder_nan_stays_with_its_mask_and_counts_as_outside(kind):
    visual = ClipVisionTransformer(input_resolution=24, patch_size=8, width=32, layers=2, heads=2, output_dim=16)
    attentions = {
        "plain": None,
        "rma": attentions_with_rma(visual, [1], refine=False),
        "masq": [MasqAttention(32) for _ in range(2)],
    }[kind]
    encoder = MaskClassTokenEncoder(visual, attentions).eval()
    masks = torch.randn(1, 3, 24, 24) + 1
    outside, damaged = masks.clone(), masks.clone()
    outside[0, 1, :8, :8] = -9.0
    damaged[0, 1, :8, :8] = torch.nan
    image = torch.randn(1, 3, 24, 24)
    results = [encoder(image, some).mask_embeddings[0] for some in (outside, damaged)]
    torch.testing.assert_close(results[1], results[0], atol=1e-5, rtol=1e-5)
    refined = MaskClassTokenEncoder(visual, attentions_with_rma(visual, [1, 2])).eval()(image, damaged)
    is_nan = refined.refined_mask_logits[-1][0].isnan()
    assert torch.equal(is_nan, damaged[0].isnan())
    assert torch.isfinite(refined.mask_embeddings).all()


def test_weights_of_rma_that_refine_to_nan_stop(tmp_path):
    model = build_model(tiny_config(tmp_path, "MaskCLIP", *RMA))
    model.set_vocabulary(five_categories())
    with torch.no_grad():
        model.visual_encoder.mask_attentions[0].refinement.proj.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN in masks.*training may have diverged"):
        model.eval()([record(2)])
    with pytest.raises(FloatingPointError, match="SOLVER.BASE_LR"):
        model.train()([record(2)])


@pytest.fixture
def broken_proposer(tmp_path):
    """A proposer whose training has failed."""
    model = build_model(tiny_config(tmp_path, "MaskProposer"))
    with torch.no_grad():
        model.sem_seg_head.predictor.query_feat.weight.fill_(torch.nan)
    return model


def test_a_proposer_that_gives_nan_stops(broken_proposer, tmp_path):
    with pytest.raises(ValueError, match="NaN in masks.*check the weights"):
        broken_proposer.eval()([record(1)])
    with pytest.raises(FloatingPointError, match="SOLVER.BASE_LR"):
        broken_proposer.train()([record(1)])
    student = build_model(tiny_config(tmp_path, "MaskDistiller"))
    student._make_teacher = lambda: broken_proposer
    with pytest.raises(ValueError, match="NaN in masks.*check the weights"):
        student.train()([record(1)])


# An image without an object, in training.


def test_rma_learns_nothing_from_an_image_without_objects(tmp_path):
    model = build_model(tiny_config(tmp_path, "MaskCLIP", *RMA))
    model.set_vocabulary(five_categories())
    assert all(loss == 0 for loss in train_step(model, [record(0)]).values())
    assert train_step(model, [record(0), record(2)])["loss_mask"] > 0


def test_masq_tuning_learns_background_from_an_image_without_objects(tmp_path):
    model = build_model(tiny_config(tmp_path, "MasQCLIP"))
    model.set_vocabulary(five_categories())
    loss = train_step(model, [record(0)])["loss_ce"]
    batch = model.training_batch([record(0)])
    embeddings = model.visual_encoder(batch.images, batch.mask_logits).mask_embeddings
    logits = model.text_classifier.class_logits(embeddings, five_categories(), "background")
    background = logits.log_softmax(-1)[..., -1]
    torch.testing.assert_close(loss, -2.0 * background.mean())  # LOSS_WEIGHT, and one label for all


@pytest.mark.parametrize("annotation", ["no masks", "no field"])
def test_proposers_learn_no_object_from_an_image_without_objects(tmp_path, annotation):
    one = record(0)
    if annotation == "no field":
        one["instances"] = Instances((32, 40))
    teacher, student = (build_model(tiny_config(tmp_path, name)) for name in ("MaskProposer", "MaskDistiller"))
    student._make_teacher = lambda: teacher
    for model in (student, teacher):  # in this order: the student's teacher gets frozen
        model.requires_grad_(True)
        losses = train_step(model, [one])
        assert losses["loss_ce"] > 0 and losses["loss_mask"] == losses["loss_dice"] == 0


def test_a_student_learns_pseudo_masks_of_an_image_without_objects(tmp_path):
    opts = ("MODEL.MASQCLIP.DISTILLATION.SCORE_THRESHOLD", "0.0")
    student = build_model(tiny_config(tmp_path, "MaskDistiller", *opts))
    student._make_teacher = lambda: build_model(tiny_config(tmp_path, "MaskProposer"))
    extended = student.with_pseudo_masks([record(0)])[0]["instances"]
    assert len(extended) > 0
    assert train_step(student, [record(0)])["loss_mask"] > 0


# Another number of proposals than in training.


def test_what_was_learned_serves_any_number_of_proposals(make_method):
    model = make_method()
    train_step(model, [record(2)])  # with 6 proposals
    model.eval()
    masks = torch.randn(11, 8, 10) * 4
    many, few = (MaskProposals(some, torch.ones(len(some)), (32, 40)) for some in (masks, masks[:1]))
    first, alone = (model.encode({"image": record(0)["image"]}, masks).mask_embeddings for masks in (many, few))
    torch.testing.assert_close(first[:1], alone, atol=1e-5, rtol=1e-5)


def test_weights_of_another_width_are_named(tmp_path):
    torch.save(build_model(tiny_config(tmp_path, "MaskProposer")).state_dict(), tmp_path / "six.pth")
    other = build_model(tiny_config(tmp_path, "MasQCLIP", "MODEL.MASK_FORMER.DIM_FEEDFORWARD", "48"))
    other.allow_missing = (r"visual_encoder\.", r"text_classifier\.")
    with pytest.raises(ValueError, match=r"linear1\.weight \(\d+, 64\) instead of \(48, 64\).*Use the config"):
        StrictCheckpointer(other).load(str(tmp_path / "six.pth"))


# Sizes that do not fit.


def test_a_patch_size_that_does_not_divide_the_resolution_is_named(make_method, tmp_path):
    (tmp_path / "odd.json").write_text(json.dumps({**TINY_CLIP, "image_resolution": 30}))
    with pytest.raises(ValueError, match=r"odd\.json: image_resolution 30 is not a multiple of 8"):
        make_method("MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tmp_path / "odd.json"))
    with pytest.raises(ValueError, match="input_resolution 30 must be a multiple of patch_size 8"):
        ClipVisionTransformer(input_resolution=30, patch_size=8, width=8, layers=1, heads=1, output_dim=4)


@pytest.mark.parametrize("layers", ["[3]", "[0]", "[-1]", "[1, 2, 24]"])
def test_rma_layers_that_clip_does_not_have_are_named(tmp_path, layers):
    with pytest.raises(ValueError, match=r"MODEL\.MASQCLIP\.RMA\.LAYERS \[.*\] must lie in 1\.\.2"):
        build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.RMA.LAYERS", layers))


# The student's teacher.


@pytest.mark.parametrize(
    ("opts", "error", "message"),
    [
        ((), ValueError, "needs a trained teacher: set MODEL.WEIGHTS"),
        (("MODEL.WEIGHTS", "lost.pth"), FileNotFoundError, "'lost.pth' do not exist. Train the stage that writes"),
        (("MODEL.MASQCLIP.DISTILLATION.TEACHER", "lost.pth"), FileNotFoundError, "'lost.pth' do not exist"),
        (("MODEL.MASQCLIP.DISTILLATION.TEACHER", "{folder}/clip.pth"), ValueError, "do not fit MaskProposer"),
    ],
    ids=["none", "no such file", "no such teacher", "not a proposer"],
)
def test_a_student_without_teacher_says_what_is_missing(tmp_path, opts, error, message):
    torch.save({"visual.proj": torch.zeros(2, 2)}, tmp_path / "clip.pth")
    opts = [word.format(folder=tmp_path) for word in opts]
    student = build_model(tiny_config(tmp_path, "MaskDistiller", *opts))
    with pytest.raises(error, match=message):
        student.train()([record(1)])
