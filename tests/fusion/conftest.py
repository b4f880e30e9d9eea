"""Runs the tests of instance, panoptic and background inference in both forms: that of the CPU, and that of GPUs."""

import pytest

from masqclip_d2.fusion import background, instance, panoptic, semantic
from masqclip_d2.ops.panoptic_winners import fast as panoptic_winners

_IN_BOTH_FORMS = ("test_instance", "test_panoptic", "test_background")


def pytest_generate_tests(metafunc):
    if metafunc.module.__name__.rpartition(".")[2] in _IN_BOTH_FORMS:
        metafunc.fixturenames.append("_form")
        metafunc.parametrize("_form", ["cpu", "gpu"], indirect=True)


@pytest.fixture
def _form(request, monkeypatch):
    for module in (background, instance, panoptic, semantic, panoptic_winners):
        monkeypatch.setattr(module, "is_asynchronous", lambda device: request.param == "gpu")
