"""Which of the teacher's masks become pseudo masks."""

import torch

from masqclip_d2.config import load_config
from masqclip_d2.losses.pseudo_masks import PseudoMaskRules, choose_pseudo_masks


def bars(*columns):
    """Masks of 8 x 8 pixels, each some columns wide: (left, right)."""
    masks = torch.zeros(len(columns), 8, 8, dtype=torch.bool)
    for mask, (left, right) in zip(masks, columns, strict=True):
        mask[:, left:right] = True
    return masks


def test_each_rule_drops_its_masks():
    torch.manual_seed(0)
    base = bars((0, 2))
    teacher = bars((0, 2), (4, 6), (4, 6), (6, 8), (2, 4))
    scores = torch.tensor([0.99, 0.85, 0.95, 0.9, 0.7])
    choice = choose_pseudo_masks(base, teacher, scores, PseudoMaskRules(num_points=4000))
    assert choice.confident.tolist() == [0, 1, 2, 3]  # the score of mask 4 is too low
    assert choice.new.tolist() == [1, 2, 3]  # mask 0 overlaps a base mask
    assert choice.kept.tolist() == [2, 3]  # mask 1 overlaps mask 2, whose score is higher


def test_the_two_overlap_limits_are_independent():
    torch.manual_seed(0)
    base, teacher, scores = bars((0, 4)), bars((2, 6), (4, 8)), torch.tensor([0.9, 0.95])  # dice 0.5 each
    both = PseudoMaskRules(base_overlap_limit=0.7, pseudo_overlap_limit=0.7, num_points=4000)
    assert choose_pseudo_masks(base, teacher, scores, both).kept.tolist() == [1, 0]
    strict_base = PseudoMaskRules(base_overlap_limit=0.3, pseudo_overlap_limit=0.7, num_points=4000)
    assert choose_pseudo_masks(base, teacher, scores, strict_base).kept.tolist() == [1]
    strict_pseudo = PseudoMaskRules(base_overlap_limit=0.7, pseudo_overlap_limit=0.3, num_points=4000)
    assert choose_pseudo_masks(base, teacher, scores, strict_pseudo).kept.tolist() == [1]


def test_no_base_masks_and_no_teacher_masks():
    rules = PseudoMaskRules(num_points=100)
    assert choose_pseudo_masks(bars(), bars((0, 4)), torch.tensor([0.9]), rules).kept.tolist() == [0]
    assert choose_pseudo_masks(bars((0, 4)), bars(), torch.zeros(0), rules).kept.tolist() == []


def test_rules_are_those_of_the_configuration():
    distillation = "MODEL.MASQCLIP.DISTILLATION."
    opts = [f"{distillation}SCORE_THRESHOLD", "0.7", f"{distillation}BASE_OVERLAP_LIMIT", "0.2"]
    opts += [f"{distillation}PSEUDO_OVERLAP_LIMIT", "0.3", f"{distillation}NUM_POINTS", "50"]
    assert PseudoMaskRules.from_config(load_config("shapes/student", opts)) == PseudoMaskRules(0.7, 0.2, 0.3, 50)
