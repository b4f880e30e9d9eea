import numpy as np
import pytest

from masqclip_d2 import Predictor
from tests.publishing.hub_server import running_hub


@pytest.fixture(scope="package")
def toy():
    """The shipped MasQCLIP, a picture, and its answer."""
    predictor = Predictor(device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    return predictor, image, predictor(image, "dotted star,plain circle", stuff="grass")


@pytest.fixture
def hub(own_cache, monkeypatch):
    """A stand-in for the Hugging Face Hub."""
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        yield server
