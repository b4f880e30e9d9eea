"""Networks and fusion of the published implementations by the kernels. Minutes: run with `-m slow` by hand."""

import pytest

from tests.check_golden import check_path
from tests.test_golden import GOLDEN

SETS = [
    "masqclip_visual_A.npz",
    "maskclip_worma_A.npz",
    "maskclip_rma_A.npz",
    "mask2former_head_A.npz",
    "postprocess_maskclip_A.npz",
    "postprocess_masqclip_A.npz",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_agrees_with_the_published_implementation(name, monkeypatch):
    monkeypatch.setenv("MASQCLIP_OPS", "triton")
    rows = list(check_path(GOLDEN / name))
    assert rows and [row for row in rows if not row.passed] == []
