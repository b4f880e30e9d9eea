"""Proposer and visual encoder run once per image, before any vocabulary."""

from dataclasses import replace

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from masqclip_d2.structures import MaskProposals
from tests.helpers import five_categories, random_image, tiny_config

GROUND_TRUTH = ("MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth")


@pytest.fixture
def make(tmp_path):
    def make(*opts, name="MaskCLIP"):
        model = build_model(tiny_config(tmp_path, name, *opts)).eval()
        model.set_vocabulary(five_categories())
        return model

    return make


def _annotated(hw):
    masks = torch.zeros(2, *hw, dtype=torch.bool)
    masks[0, :10, :12] = masks[1, 12:, 5:] = True
    instances = Instances(hw, gt_masks=BitMasks(masks), gt_classes=torch.tensor([1, 3]))
    return {"image": random_image(*hw), "instances": instances}


@pytest.mark.parametrize("name", ["MaskCLIP", "MasQCLIP", "ClipBaseline"])
def test_encode_and_predict_are_the_model(make, name):
    model = make("MODEL.MASQCLIP.RMA.LAYERS", "[1]" if name == "MaskCLIP" else "[]", name=name)
    record = {"image": random_image(40, 72), "height": 50, "width": 91}
    [expected] = model([record])
    encoded = model.encode(record)
    assert encoded.output_hw == (50, 91) and len(encoded) == len(encoded.proposals) == 6
    assert (encoded.proposals.mask_logits.shape[-2:] == (32, 32)) == (
        name == "MaskCLIP"
    )  # refined at CLIP's resolution
    assert (encoded.coarse is not None) == (name == "MaskCLIP")
    found = model.predict(encoded, five_categories())
    assert torch.equal(found["sem_seg_confidence"], expected["sem_seg_confidence"])
    assert torch.equal(found["instances"].scores, expected["instances"].scores)


def test_masks_before_refinement_are_those_of_the_proposer(make):
    model, record = make("MODEL.MASQCLIP.RMA.LAYERS", "[1]"), {"image": random_image(40, 72)}
    with torch.no_grad():
        [proposed] = model.proposer.propose([record])
    encoded = model.encode(record)
    assert torch.equal(encoded.coarse.mask_logits, proposed.mask_logits)
    half = replace(
        encoded,
        mask_embeddings=encoded.mask_embeddings.half(),
        coarse=replace(proposed, mask_logits=proposed.mask_logits.half()),
    )
    assert half.float().coarse.mask_logits.dtype == torch.float32
    assert encoded.to("meta").coarse.mask_logits.is_meta


def test_no_gradients_are_recorded(make):
    model = make(name="MasQCLIP")
    encoded = model.encode({"image": random_image(40, 72)})
    assert not encoded.mask_embeddings.requires_grad
    assert not model.predict(encoded, five_categories())["sem_seg_confidence"].requires_grad


@pytest.mark.parametrize("network", ["proposer", "visual_encoder"])
def test_out_of_memory_is_retried_in_smaller_pieces(make, monkeypatch, network):
    model = make()
    records = [{"image": random_image(40, 72, seed)} for seed in range(2)]
    expected = model.encode_batch(records)
    function = model.proposer.propose if network == "proposer" else model.visual_encoder.forward

    def limited(*arguments):
        items = arguments[-1] if network == "proposer" else arguments[-1][0]  # images, or masks of one image
        if len(items) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return function(*arguments)

    if network == "proposer":
        monkeypatch.setattr(model.proposer, "propose", limited)
    else:
        monkeypatch.setattr(model.visual_encoder, "forward", limited)
    for found, other in zip(model.encode_batch(records), expected, strict=True):
        torch.testing.assert_close(found.mask_embeddings, other.mask_embeddings, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.proposals.mask_logits, other.proposals.mask_logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("propose", "error", "message"),
    [
        (lambda records: torch.zeros(2, 8, 8), TypeError, "Tensor; expected MaskProposals per image"),
        (lambda records: [{"masks": 1}, {"masks": 2}], TypeError, "dict; expected MaskProposals"),
        (lambda records: [MaskProposals(torch.zeros(1, 8, 8), torch.ones(1), (8, 8))], ValueError, "of 1 for 2 images"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_other_results_of_a_proposer_are_refused(make, monkeypatch, propose, error, message, training):
    model = make("MODEL.MASQCLIP.RMA.LAYERS", "[1]").train(training)
    monkeypatch.setattr(model.proposer, "propose", propose)
    with pytest.raises(error, match=f"Mask2FormerProposer.propose returned .*{message}"):
        model([_annotated((24, 32)), _annotated((24, 32))])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_proposals_of_any_float_type(make, monkeypatch, dtype):
    model = make("MODEL.MASQCLIP.RMA.LAYERS", "[1]")
    record = {"image": random_image(24, 32)}
    [found] = model.proposer.propose([record])
    logits, scores = found.mask_logits.to(dtype), found.object_scores.to(dtype)
    monkeypatch.setattr(model.proposer, "propose", lambda records: [MaskProposals(logits, scores, *frames)])
    frames = found.image_hw, found.padded_hw
    [prediction] = model([record])
    assert {"panoptic_seg", "instances", "sem_seg_labels"} <= prediction.keys()
    assert torch.isfinite(prediction["instances"].scores).all()


@pytest.mark.parametrize("opts", [(), ("MODEL.MASQCLIP.RMA.LAYERS", "[1]")], ids=["plain", "RMA"])
def test_images_with_equally_many_masks_share_a_pass_of_the_encoder(make, monkeypatch, opts):
    model = make(*opts)
    counts, records = (3, 2, 3, 0, 0), [{"image": random_image(40 + seed, 72, seed)} for seed in range(5)]
    found = [
        MaskProposals(torch.randn(count, 10, 18) * 5, torch.rand(count), record["image"].shape[-2:])
        for count, record in zip(counts, records, strict=True)
    ]
    alone = [model.encode(record, masks) for record, masks in zip(records, found, strict=True)]
    shapes, forward = [], model.visual_encoder.forward
    monkeypatch.setattr(model.proposer, "propose", lambda records: found)

    def recorded(images, masks):
        shapes.append(tuple(masks.shape[:2]))
        return forward(images, masks)

    monkeypatch.setattr(model.visual_encoder, "forward", recorded)
    together = model.encode_batch(records)
    assert shapes == [(2, 3), (1, 2), (2, 0)]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.mask_embeddings, other.mask_embeddings, atol=1e-5, rtol=1e-5)
        assert (one.output_hw, one.proposals.image_hw) == (other.output_hw, other.proposals.image_hw)
        if len(one):
            torch.testing.assert_close(one.proposals.mask_logits, other.proposals.mask_logits, atol=1e-4, rtol=1e-4)


def test_ground_truth_proposals_are_classified_one_by_one(make):
    model = make(*GROUND_TRUTH)
    record = _annotated((24, 32))
    prediction = model([record])[0]
    assert prediction["mask_classification"]["scores"].shape == (2, 5)
    assert prediction["mask_classification"]["gt_classes"].tolist() == [1, 3]
    assert torch.equal(prediction["mask_classification"]["gt_masks"], record["instances"].gt_masks.tensor)


def test_as_many_proposals_as_annotated_masks_are_not_the_ground_truth(make):
    record = _annotated((24, 32))
    masks = MaskProposals.from_binary_masks(record["instances"].gt_masks.tensor)
    for model in (make(), make(*GROUND_TRUTH)):
        assert "mask_classification" not in model.predict(model.encode(record, masks), five_categories())


def test_images_without_objects_have_no_masks_to_classify(make):
    model = make(*GROUND_TRUTH)
    [prediction] = model([{"image": random_image(8, 8), "instances": Instances((8, 8))}])
    assert prediction["mask_classification"]["scores"].shape == (0, 5)
    assert len(prediction["mask_classification"]["gt_classes"]) == 0


def test_ground_truth_proposals_without_annotation_are_refused(make):
    model = make(*GROUND_TRUTH)
    with pytest.raises(ValueError, match="photo.jpg"):
        model([{"image": random_image(8, 8), "file_name": "photo.jpg"}])


def test_padding_of_the_batch_changes_what_clip_sees(make):
    """The published padding shows CLIP the padded batch, so the embedding of an image depends on its batch mates."""
    model = make("MODEL.MASQCLIP.PADDING", "batch")
    records = [{"image": random_image(32, 32)}, {"image": random_image(64, 96)}]
    alone = model.proposer.propose(records[:1])[0]
    together = model.proposer.propose(records)[0]
    assert alone.padded_hw == (32, 32) and together.padded_hw == (64, 96)
    one, other = (model.encode(records[0], proposals).mask_embeddings for proposals in (alone, together))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("name", ["MaskCLIP", "MasQCLIP", "ClipBaseline"])
def test_frozen_towers_stay_in_eval_mode(make, name):
    """A CLIP with dropout or batch norms is the same in training and evaluation."""
    model = make("MODEL.MASQCLIP.RMA.LAYERS", "[1]" if name == "MaskCLIP" else "[]", name=name).train()
    towers = (model.proposer, model.visual_encoder.visual, model.text_classifier.text_encoder)
    assert not any(module.training for tower in towers for module in tower.modules())
    assert model.training and model.visual_encoder.training
    if name != "ClipBaseline":
        assert model.visual_encoder.mask_attentions.training
    for tower in towers[1:]:
        tower.requires_grad_(True)
    assert all(module.training for tower in towers[1:] for module in model.train() and tower.modules())
