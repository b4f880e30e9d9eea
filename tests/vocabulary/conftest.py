import pytest

from masqclip_d2.vocabulary import TextEncoder


@pytest.fixture
def make_text_encoder():
    def make(**changes):
        sizes = {"context_length": 16, "vocab_size": 600, "width": 32, "heads": 2, "layers": 2, "output_dim": 24}
        return TextEncoder(**{**sizes, **changes}).eval()

    return make


@pytest.fixture
def text_encoder(make_text_encoder):
    return make_text_encoder()
