"""Every meta-architecture can be deep-copied and pickled; copies predict and train as the original."""

import copy
import pickle

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from tests.helpers import TINY_MASK_RCNN, five_categories, random_image, tiny_config

MODELS = {
    "MaskCLIP": ("MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]"),
    "MasQCLIP": (),
    "ClipBaseline": (),
    "MaskProposer": (),
    "MaskDistiller": (),
    "MaskRcnnProposalNetwork": TINY_MASK_RCNN,
}
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model))}


@pytest.fixture(params=MODELS)
def model(request, tmp_path):
    opts = MODELS[request.param]
    if request.param == "MaskDistiller":
        teacher = build_model(tiny_config(tmp_path, "MaskProposer"))
        torch.save({"model": teacher.state_dict()}, tmp_path / "teacher.pth")
        opts = ("MODEL.MASQCLIP.DISTILLATION.TEACHER", str(tmp_path / "teacher.pth"))
    built = build_model(tiny_config(tmp_path, request.param, *opts))
    if hasattr(built, "set_vocabulary"):
        built.set_vocabulary(five_categories())
    return built


def record():
    masks = torch.zeros(2, 40, 72, dtype=torch.bool)
    masks[0, :10, :12] = masks[1, 12:, 5:] = True
    instances = Instances((40, 72), gt_masks=BitMasks(masks), gt_classes=torch.tensor([1, 3]))
    return {"image": random_image(40, 72), "instances": instances}


def predictions(model):
    """Every tensor of the predictions."""
    [result] = model.eval()([record()])
    tensors = []
    for value in result.values():
        value = value[0] if isinstance(value, tuple) else value
        fields = value.get_fields().values() if isinstance(value, Instances) else [value]
        tensors += [getattr(field, "tensor", field) for field in fields]
    return tensors


def losses(model):
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return {}
    torch.manual_seed(7)
    return model.train()([record()])


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_copies_predict_and_train_as_the_original(model, make_copy, used):
    if used:  # with cached text embeddings and a teacher
        predictions(model), losses(model)
    duplicate = make_copy(model)
    expected, found = predictions(model), predictions(duplicate)
    assert len(expected) == len(found) > 0
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    torch.testing.assert_close(losses(duplicate), losses(model))


def test_a_copy_has_parameters_of_its_own(model):
    duplicate = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in duplicate.parameters():
            parameter.zero_()
    assert any(bool(parameter.any()) for parameter in model.parameters())


def test_modules_stay_the_same_over_training_steps(model):
    """Criteria are built once, not in every step, whatever the number of categories."""
    if not losses(model):
        return
    modules = [id(module) for module in model.modules()]
    if hasattr(model, "set_vocabulary"):
        vocabulary = five_categories()
        model.set_vocabulary(type(vocabulary)(vocabulary.names[:4], vocabulary.is_thing[:4]))
    assert all(torch.isfinite(loss) for loss in losses(model).values())
    assert [id(module) for module in model.modules()] == modules
