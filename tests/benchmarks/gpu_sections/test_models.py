"""Counts of launches and synchronizations, with stand-ins for CUDA's reports."""

import contextlib
import os
import warnings
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu_sections import models
from benchmarks.gpu_sections.random_models import RandomModels, vocabulary
from benchmarks.gpu_sections.settings import Settings


def test_synchronizations_are_counted_by_line(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def run():
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("another", stacklevel=1)
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    places = models._synchronizations(run)
    assert sorted(places.values()) == [1, 3] and places.total() == 4
    assert all(place.startswith("gpu_sections/test_models.py:") for place in places)
    assert modes == ["warn", "default"]


@pytest.fixture
def profiled(monkeypatch):
    """Let the profiler report events of the names."""

    def profiled(*names):
        @contextlib.contextmanager
        def profile(activities):
            yield SimpleNamespace(events=lambda: [SimpleNamespace(name=name) for name in names])

        monkeypatch.setattr(torch.profiler, "profile", profile)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)

    return profiled


def test_launches_of_torch_and_triton(profiled):
    profiled("aten::add", "cudaLaunchKernel", "cuLaunchKernelEx", "cudaMemcpyAsync", "cudaGraphLaunch")
    assert models._launches(lambda: None) == (2, 1, 1)


def test_a_profiler_that_sees_nothing_is_an_error(profiled):
    profiled("aten::add")
    with pytest.raises(RuntimeError, match="recorded no launches"):
        models._launches(lambda: None)


def test_the_choice_of_kernels_is_undone(monkeypatch):
    settings = Settings.of("cpu", tiny=True)
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    with models.ops_implementation(settings, kernels=False):
        assert os.environ["MASQCLIP_OPS"] == "torch"
    assert "MASQCLIP_OPS" not in os.environ
    monkeypatch.setenv("MASQCLIP_OPS", "reference")
    with models.ops_implementation(settings, kernels=True):
        assert os.environ["MASQCLIP_OPS"] == "triton"  # by the interpreter
    assert os.environ["MASQCLIP_OPS"] == "reference"


@pytest.mark.parametrize("name", models.METHODS)
def test_batches_of_one_and_more_images(name, tmp_path):
    """The tiny form of the benchmark has batches of one image only."""
    random_models = RandomModels(Settings.of("cpu", tiny=True), tmp_path)
    predictor = random_models.predictor(name)
    sizes = []
    predictor.model.visual_encoder.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    for number in (1, 3):
        models._segment(predictor, random_models.images(number), vocabulary(3), "semantic")
    assert sizes == [1, 3]


def test_names_of_variants_are_unique():
    names = [variant.name for variant in (*models.VARIANTS, *models.COMPILED)]
    assert len(set(names)) == len(names)
