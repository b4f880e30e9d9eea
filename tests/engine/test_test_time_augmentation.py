"""Test-time augmentation: equal to the model for one view, invariant to mirroring."""

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.engine.test_time_augmentation import SemanticWithAugmentation
from masqclip_d2.fusion import crop_and_resize
from tests.helpers import five_categories, random_image, tiny_config


@pytest.fixture(params=["MaskCLIP", "MasQCLIP"])
def model(request, tmp_path):
    opts = ("MODEL.MASQCLIP.TEST.CLASS_MAPS", "True", "MODEL.MASQCLIP.RMA.LAYERS", "[1]")
    built = build_model(tiny_config(tmp_path, request.param, *opts if request.param == "MaskCLIP" else opts[:2]))
    built.eval().set_vocabulary(five_categories())
    return built


def smooth_image(height, width, seed=0):
    """An image of low frequencies, so that resizing changes little."""
    coarse = random_image(5, 7, seed).float()
    return crop_and_resize(coarse, (5, 7), (height, width)).to(torch.uint8)


def assert_same(one, other):
    torch.testing.assert_close(one["sem_seg_confidence"], other["sem_seg_confidence"], atol=1e-4, rtol=1e-4)
    assert (one["sem_seg_labels"] == other["sem_seg_labels"]).float().mean() > 0.99


def test_one_view_equals_the_model(model):
    record = {"image": smooth_image(40, 72), "height": 50, "width": 91}
    one_view = SemanticWithAugmentation(model, (40,), 1000, flip=False)([record])[0]
    plain = model([record])[0]
    assert set(one_view) == {"sem_seg", "sem_seg_labels", "sem_seg_confidence"}
    assert all(torch.equal(one_view[name], plain[name]) for name in one_view)


def test_scores_are_the_mean_over_the_views(model):
    record = {"image": smooth_image(40, 72), "height": 50, "width": 91}
    augmented = SemanticWithAugmentation(model, (40, 64), 1000, flip=True)([record])[0]
    maps = []
    for size in (40, 64):
        alone = SemanticWithAugmentation(model, (size,), 1000, flip=False)
        maps.append(alone([record])[0]["sem_seg"])
        mirrored = {**record, "image": record["image"].flip(-1)}
        maps.append(alone([mirrored])[0]["sem_seg"].flip(-1))
    assert not torch.allclose(maps[0], maps[1], atol=1e-3) and not torch.allclose(maps[0], maps[2], atol=1e-3)
    expected = torch.stack(maps).mean(0)
    torch.testing.assert_close(augmented["sem_seg"], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(augmented["sem_seg_confidence"], expected.amax(0), atol=1e-4, rtol=1e-4)
    assert (augmented["sem_seg_labels"] == expected.argmax(0)).float().mean() > 0.99


def test_a_mirrored_image_has_mirrored_predictions(model):
    """Also where the proposer pads: 47 pixels become 64, on the right of both."""
    augmented = SemanticWithAugmentation(model, (33, 40), 1000, flip=True)
    image = smooth_image(33, 47)
    plain, mirrored = augmented([{"image": image}, {"image": image.flip(-1)}])
    assert_same({name: value.flip(-1) for name, value in mirrored.items()}, plain)


def test_a_symmetric_image_has_symmetric_predictions(model):
    image = smooth_image(40, 30)
    image = torch.cat([image, image.flip(-1)], dim=-1)
    prediction = SemanticWithAugmentation(model, (40,), 1000, flip=True)([{"image": image}])[0]
    assert_same({name: value.flip(-1) for name, value in prediction.items()}, prediction)


def test_views_are_those_of_the_configuration(model, monkeypatch, tmp_path):
    opts = ("TEST.AUG.MIN_SIZES", "(20, 64)", "TEST.AUG.MAX_SIZE", "60")  # FLIP is True by default
    seen = []
    propose = model.proposer.propose
    monkeypatch.setattr(
        model.proposer, "propose", lambda batch: seen.append(tuple(batch[0]["image"].shape)) or propose(batch)
    )
    cfg = tiny_config(tmp_path, "MaskCLIP", *opts)
    SemanticWithAugmentation.from_config(cfg, model)([{"image": smooth_image(20, 40)}])
    assert seen == [(3, 20, 40)] * 2 + [(3, 30, 60)] * 2


def test_unsupported_models_are_refused_with_the_reason(tmp_path):
    semantic_off = build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "False"))
    with pytest.raises(ValueError, match="MaskCLIP does not support .*: it predicts no semantic labels"):
        SemanticWithAugmentation(semantic_off, (40,), 1000, flip=True)
    proposer = build_model(tiny_config(tmp_path, "MaskProposer"))
    with pytest.raises(ValueError, match="MaskProposer does not support .*no methods semantic_view"):
        SemanticWithAugmentation(proposer, (40,), 1000, flip=True)
    cfg = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth")
    with pytest.raises(ValueError, match="GroundTruthProposer"):
        SemanticWithAugmentation.from_config(cfg, build_model(cfg))
    cfg = tiny_config(tmp_path, "MaskCLIP", "TEST.AUG.MIN_SIZES", "()")
    with pytest.raises(ValueError, match=r"MIN_SIZES is \(\)"):
        SemanticWithAugmentation.from_config(cfg, build_model(cfg))


def test_without_a_vocabulary_the_error_names_the_fix(model):
    model.vocabulary = None
    with pytest.raises(RuntimeError, match="set_vocabulary"):
        SemanticWithAugmentation(model, (40,), 1000, flip=True)([{"image": smooth_image(40, 40)}])
