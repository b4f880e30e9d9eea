"""Values of a configuration that nothing can work with."""

import pytest

from masqclip_d2.config import flat_items, get_masqclip_cfg, load_config
from masqclip_d2.config_values import check_values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SOLVER: {BASE_LR: .nan}", "SOLVER.BASE_LR is nan; expected finite numbers"),
        ("SOLVER: {BASE_LR: .inf}", "SOLVER.BASE_LR is inf; expected finite numbers"),
        ("SOLVER: {BASE_LR: -1.0}", "SOLVER.BASE_LR is -1.0; expected at least 0"),
        ("SOLVER: {MAX_ITER: -5}", "SOLVER.MAX_ITER is -5; expected at least 1"),
        ("SOLVER: {IMS_PER_BATCH: 0}", "SOLVER.IMS_PER_BATCH is 0; expected at least 1"),
        (f"SOLVER: {{MAX_ITER: {10**40}}}", "SOLVER.MAX_ITER is 1000.*; expected finite numbers of at most 64 bits"),
        ("SOLVER: {BASE_LR: null}", "SOLVER.BASE_LR has no value; its default is 0.001"),
        ("MODEL: {WEIGHTS: null}", "MODEL.WEIGHTS has no value; its default is ''. For none, write ''"),
        ("SOLVER: {STEPS: [a, 3]}", r"SOLVER.STEPS is .*a.*3.*; expected numbers, such as \(30000,\)"),
        ("MODEL: {PIXEL_MEAN: [1.0, .nan, 3.0]}", "MODEL.PIXEL_MEAN is .*nan.*; expected finite numbers"),
        ("MODEL: {PIXEL_STD: [1.0, 0.0, 1.0]}", "MODEL.PIXEL_STD is .*0.0.*; expected numbers above 0"),
        (
            "MODEL: {MASK_FORMER: {TEST: {OVERLAP_THRESHOLD: 1.5}}}",
            r"OVERLAP_THRESHOLD is 1.5; expected a number in \[",
        ),
    ],
)
def test_values_that_nothing_can_work_with(text, message, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config(path)


def test_overrides_are_checked_too():
    with pytest.raises(ValueError, match="SOLVER.MAX_ITER is 0; expected at least 1"):
        load_config("shapes/masqclip", ["SOLVER.MAX_ITER", "0"])


def test_every_key_with_a_bound_exists():
    from masqclip_d2 import config_values

    known = dict(flat_items(get_masqclip_cfg()))
    bounded = config_values._AT_LEAST_1 | config_values._AT_LEAST_0 | config_values._SHARES
    assert bounded <= set(known) and set(known) >= config_values._MAY_BE_INFINITE
    check_values(known, {})  # defaults are within their bounds
