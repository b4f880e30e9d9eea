import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.config import get_masqclip_cfg
from masqclip_d2.proposer import PROPOSER_REGISTRY, Proposer, build_proposer, proposer_class
from masqclip_d2.proposer.registry import SHORT_NAMES
from masqclip_d2.structures import MaskProposals
from tests.helpers import five_categories, random_image, tiny_config


class WholeImage(Proposer):
    """One proposal: the whole image."""

    def __init__(self, cfg):
        super().__init__()
        self.score = torch.nn.Parameter(torch.tensor(cfg.MODEL.MASQCLIP.PROPOSER.MASK_RCNN.SCORE_THRESHOLD))

    def propose(self, batched_inputs):
        sizes = [tuple(record["image"].shape[-2:]) for record in batched_inputs]
        return [
            MaskProposals(torch.ones(1, *hw, device=self.device), self.score.detach().expand(1), hw) for hw in sizes
        ]


@pytest.fixture
def registered():
    """Entries that a test registers are removed after it."""
    before = dict(PROPOSER_REGISTRY._obj_map)
    yield PROPOSER_REGISTRY
    PROPOSER_REGISTRY._obj_map.clear()
    PROPOSER_REGISTRY._obj_map.update(before)


def named(source):
    cfg = get_masqclip_cfg()
    cfg.MODEL.MASQCLIP.PROPOSER.SOURCE = source
    return cfg


@pytest.mark.parametrize("short, name", SHORT_NAMES.items())
def test_short_and_class_names_choose_the_same_class(short, name):
    assert proposer_class(named(short)) is proposer_class(named(name)) is PROPOSER_REGISTRY.get(name)
    assert issubclass(proposer_class(named(name)), Proposer)


@pytest.mark.parametrize(
    "source, needs_ground_truth, supports_resized_images",
    [("mask2former", False, True), ("mask_rcnn", False, True), ("ground_truth", True, False)],
)
def test_what_a_proposer_needs(source, needs_ground_truth, supports_resized_images):
    found = proposer_class(named(source))
    assert (found.needs_ground_truth, found.supports_resized_images) == (needs_ground_truth, supports_resized_images)


def test_a_registered_proposer_is_built_frozen_and_used_by_a_model(registered, tmp_path):
    registered.register(WholeImage)
    cfg = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "WholeImage")
    proposer = build_proposer(cfg)
    assert not proposer.training and not any(parameter.requires_grad for parameter in proposer.parameters())
    assert list(proposer.state_dict()) == ["score"]
    model = build_model(cfg).eval()
    model.set_vocabulary(five_categories())
    prediction = model([{"image": random_image(20, 30)}])[0]
    assert prediction["sem_seg_labels"].shape == (20, 30)
    assert len(prediction["sem_seg_labels"].unique()) == 1  # one mask, one category


def test_an_unknown_name_lists_the_known_ones(registered):
    registered.register(WholeImage)
    known = "known: mask2former, mask_rcnn, ground_truth, .*WholeImage.*--import FILE"
    with pytest.raises(ValueError, match=f"PROPOSER.SOURCE is 'oracle'; {known}"):
        build_proposer(named("oracle"))


def test_another_base_class_is_refused(registered):
    registered.register(type("NotAProposer", (torch.nn.Module,), {}))
    with pytest.raises(ValueError, match="'NotAProposer'.*masqclip_d2.proposer.Proposer; derive it"):
        proposer_class(named("NotAProposer"))


def test_a_proposer_without_propose_says_so():
    with pytest.raises(NotImplementedError, match="Proposer has no method propose"):
        Proposer().propose([{"image": random_image(4, 4)}])


@pytest.mark.parametrize(
    "key, value, near",
    [("MODEL.BACKBONE.NAME", "TinyBackbon", "TinyBackbone"), ("MODEL.SEM_SEG_HEAD.NAME", "MaskHead", "")],
)
def test_an_unknown_part_is_refused_with_the_known_ones(tmp_path, key, value, near):
    cfg = tiny_config(tmp_path, "MaskProposer", key, value)
    with pytest.raises(ValueError, match=rf"{key} is '{value}'; known: .*{near}.*--import FILE"):
        build_proposer(cfg)
