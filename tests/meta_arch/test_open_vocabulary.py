"""MaskCLIP and the CLIP baseline as whole models: words in, answers out, for any batch, vocabulary and mask source."""

import json
from dataclasses import replace

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from masqclip_d2.clip.architecture import ClipArchitecture
from masqclip_d2.clip.model import build_clip
from masqclip_d2.fusion import ClassScores
from masqclip_d2.meta_arch.build import clip_from_config
from masqclip_d2.meta_arch.predictions import fuse
from masqclip_d2.meta_arch.tasks import Tasks
from masqclip_d2.structures import MaskProposals
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


def _assert_same_answers(one, other):
    torch.testing.assert_close(one["sem_seg"], other["sem_seg"], atol=1e-4, rtol=1e-4)
    same = (one["panoptic_seg"][0] == other["panoptic_seg"][0]).float().mean()
    assert same > 0.99
    torch.testing.assert_close(one["instances"].scores, other["instances"].scores, atol=1e-4, rtol=1e-4)


def test_answers_have_the_asked_size_and_the_vocabulary(model):
    for record, answer in zip(_records(), model(_records()), strict=True):
        hw = (record["height"], record["width"])
        assert answer["sem_seg"].shape == (5, *hw) and torch.isfinite(answer["sem_seg"]).all()
        assert answer["sem_seg_labels"].shape == hw and answer["sem_seg_labels"].dtype == torch.int64
        torch.testing.assert_close(answer["sem_seg_confidence"], answer["sem_seg"].amax(0))
        assert (answer["sem_seg_labels"] == answer["sem_seg"].argmax(0)).float().mean() > 0.999
        ids, segments = answer["panoptic_seg"]
        assert ids.shape == hw and ids.dtype == torch.int32
        assert set(ids.unique().tolist()) - {0} == {segment["id"] for segment in segments}
        assert answer["instances"].image_size == hw
        assert (answer["instances"].pred_classes < 3).all()  # things only


def test_class_maps_are_given_on_request_only(model):
    model.tasks = replace(model.tasks, class_maps=False)
    answer = model(_records()[:1])[0]
    assert "sem_seg" not in answer and "sem_seg_labels" in answer


@pytest.mark.parametrize("resize_masks_first", [True, False])
def test_no_answer_depends_on_which_others_are_given(model, resize_masks_first):
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


def test_order_of_resizing_and_summing_is_that_of_the_key():
    """One mask whose edge lies between pixels, shown twice as large: a sigmoid of means is no mean of sigmoids."""
    proposals = MaskProposals(torch.tensor([[[-8.0, 8.0, 8.0, 8.0]]]), torch.ones(1), (1, 3), (1, 4))
    scores = ClassScores(torch.tensor([[1.0]]))
    tasks = Tasks(panoptic=False, instance=False, class_maps=True)
    first = fuse(scores, proposals, (True,), (1, 6), tasks)
    later = fuse(scores, proposals, (True,), (1, 6), replace(tasks, resize_masks_first=False))
    # New pixels lie at 0, 0.25, 0.75, 1.25 and so on of the three that are the image: logits -8, -4, 4, 8, 8, 8.
    logits = torch.tensor([-8.0, -4.0, 4.0, 8.0, 8.0, 8.0])
    torch.testing.assert_close(first["sem_seg"][0, 0], logits.sigmoid())
    low, high = torch.tensor([-8.0, 8.0]).sigmoid()
    expected = torch.stack([low, 0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, high, high, high])
    torch.testing.assert_close(later["sem_seg"][0, 0], expected)
    for answer in (first, later):
        torch.testing.assert_close(answer["sem_seg_confidence"], answer["sem_seg"][0])


def test_batch_of_differing_sizes_equals_one_by_one(model):
    together = model(_records())
    for record, answer in zip(_records(), together, strict=True):
        _assert_same_answers(answer, model([record])[0])


def test_one_word_vocabulary(model):
    model.set_vocabulary(Vocabulary.from_names("thing"))
    answer = model(_records()[:1])[0]
    assert answer["sem_seg"].shape[0] == 1 and (answer["instances"].pred_classes == 0).all()


def test_vocabulary_switches_between_calls(model):
    first = model(_records()[:1])[0]["sem_seg"]
    model.set_vocabulary(Vocabulary.from_names("a,b,c"))
    assert model(_records()[:1])[0]["sem_seg"].shape[0] == 3
    model.set_vocabulary(five_categories())
    torch.testing.assert_close(model(_records()[:1])[0]["sem_seg"], first)


def test_order_of_words_permutes_the_answer(model):
    """One class map per word: reversing the words reverses the maps."""
    words = ["striped circle", "dotted star", "plain cross"]
    model.set_vocabulary(Vocabulary.from_names(words))
    forwards = model(_records()[:1])[0]["sem_seg"]
    model.set_vocabulary(Vocabulary.from_names(words[::-1]))
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


def _annotated(hw):
    masks = torch.zeros(2, *hw, dtype=torch.bool)
    masks[0, :10, :12] = masks[1, 12:, 5:] = True
    instances = Instances(hw, gt_masks=BitMasks(masks), gt_classes=torch.tensor([1, 3]))
    return {"image": random_image(*hw), "instances": instances}


def test_ground_truth_proposals_are_classified_one_by_one(tmp_path):
    model = build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth")).eval()
    model.set_vocabulary(five_categories())
    record = _annotated((24, 32))
    answer = model([record])[0]
    assert answer["mask_classification"]["scores"].shape == (2, 5)
    assert answer["mask_classification"]["gt_classes"].tolist() == [1, 3]
    assert torch.equal(answer["mask_classification"]["gt_masks"], record["instances"].gt_masks.tensor)


def test_ground_truth_proposals_without_annotation_are_refused(tmp_path):
    model = build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth")).eval()
    model.set_vocabulary(five_categories())
    with pytest.raises(ValueError, match="photo.jpg"):
        model([{"image": random_image(8, 8), "file_name": "photo.jpg"}])


def test_padding_of_the_batch_changes_what_clip_sees(tmp_path):
    """The published padding shows CLIP the padded batch, so the embedding of an image depends on its batch mates."""
    model = build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PADDING", "batch")).eval()
    records = [{"image": random_image(32, 32)}, {"image": random_image(64, 96)}]
    alone = model.proposer.propose(records[:1])[0]
    together = model.proposer.propose(records)[0]
    assert alone.padded_hw == (32, 32) and together.padded_hw == (64, 96)
    one, other = (model.encode(records[0], proposals).mask_embeddings for proposals in (alone, together))
    assert not torch.allclose(one, other, atol=1e-3)


def test_architecture_tells_what_a_file_of_weights_cannot(tmp_path):
    cfg = tiny_config(tmp_path, "MaskCLIP")
    fields = {**ClipArchitecture.from_name(cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE).to_dict(), "activation": "gelu"}
    clip = build_clip(fields)
    torch.save(clip.openai_state_dict(), tmp_path / "plain.pt")
    (tmp_path / "gelu.json").write_text(json.dumps(fields))
    cfg.MODEL.MASQCLIP.CLIP.NAME = str(tmp_path / "plain.pt")
    cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE = str(tmp_path / "gelu.json")
    image = torch.randn(1, 3, fields["image_resolution"], fields["image_resolution"])
    torch.testing.assert_close(clip_from_config(cfg).visual(image), clip.eval().visual(image))
    cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE = "shapes-tiny"
    with pytest.raises(ValueError, match="another architecture"):
        clip_from_config(cfg)


def test_no_clip_at_all_is_refused(tmp_path):
    cfg = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", "")
    with pytest.raises(ValueError, match="set one of them"):
        build_model(cfg)


def test_unknown_source_of_proposals_is_refused(tmp_path):
    with pytest.raises(ValueError, match="PROPOSER.SOURCE is 'oracle'"):
        build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "oracle"))
