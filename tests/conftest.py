"""Fixed seeds for every test, and a small Shapes folder; the Detectron2 choice happens before anything imports it."""

import masqclip_d2  # noqa: F401  isort: skip  (decides which Detectron2 is used)
import pytest
import torch

from masqclip_d2.clip import ClipTextTransformer, ClipVisionTransformer
from masqclip_d2.config import get_masqclip_cfg
from masqclip_d2.shapes.rendering import ShapesSpec, write_shapes
from tests.file_server import running_server

SHAPES_SPEC = ShapesSpec(num_train=40, num_val=8, num_captions=8, seed=3, num_closeups=8, scale=1)


def pytest_collection_modifyitems(items):
    """Slow tests first: no process is left alone with one when the others have finished."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _own_text_cache(tmp_path_factory):
    """Text embeddings are kept in a folder of this run, not in the user's; commands that tests start find it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASQCLIP_TEXT_CACHE", str(tmp_path_factory.mktemp("text_cache")))
        yield


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache of downloads; those of other programs are empty too."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "MASQCLIP_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "iopath"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("MASQCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "huggingface"))
    return tmp_path / "cache"


@pytest.fixture
def file_server(own_cache, monkeypatch):
    """A local HTTP server, which is the Hugging Face Hub too, and an empty cache of downloads."""
    with running_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory):
    """A rendered Shapes folder: 8 training and 6 validation scenes, 16 captioned images, 16 close-ups.

    It is datasets/shapes in a folder of its own, in which commands find it.
    """
    datasets = tmp_path_factory.mktemp("shapes") / "datasets"
    write_shapes(datasets / "shapes", ShapesSpec(8, 6, 16, seed=5, num_closeups=16, scale=1), num_workers=1)
    return datasets / "shapes"


@pytest.fixture(scope="session")
def mini_shapes(shapes_root):
    """Names of the datasets of `shapes_root`, which carry the prefix mini_."""
    from masqclip_d2.shapes.registration import register_shapes

    return register_shapes(shapes_root, prefix="mini_")


@pytest.fixture
def make_visual():
    """Vision towers that are small but have all parts: 3 x 3 patches of 8 pixels, 3 blocks of 2 heads."""

    def make(**changes):
        sizes = {
            "input_resolution": 24,
            "patch_size": 8,
            "width": 32,
            "layers": 3,
            "heads": 2,
            "output_dim": 16,
            **changes,
        }
        visual = ClipVisionTransformer(**sizes).eval()
        with torch.no_grad():  # biases and norms start at 0 and 1, which would hide a missing one
            for name, parameter in visual.named_parameters():
                if name.endswith("bias") or ".ln" in name or name.startswith("ln"):
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        return visual

    return make


@pytest.fixture
def visual(make_visual):
    return make_visual()


@pytest.fixture
def make_text_encoder():
    def make(**changes):
        sizes = {"context_length": 16, "vocab_size": 600, "width": 32, "heads": 2, "layers": 2, "output_dim": 24}
        return ClipTextTransformer(**{**sizes, **changes}).eval()

    return make


@pytest.fixture
def text_encoder(make_text_encoder):
    return make_text_encoder()


@pytest.fixture
def tiny_cfg():
    """A proposer small enough for tests: 64 channels, 8 queries, 2 decoder layers, TinyBackbone."""
    cfg = get_masqclip_cfg()
    cfg.MODEL.BACKBONE.NAME = "TinyBackbone"
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    cfg.MODEL.SHAPES.BACKBONE_WIDTHS = [16, 16, 32, 32]
    cfg.MODEL.MASQCLIP.PROPOSER.ENCODER_FFN_DIM = 48
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME = "MaskProposalHead"
    head.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    head.NUM_CLASSES = 1
    head.CONVS_DIM = head.MASK_DIM = 64
    head.TRANSFORMER_ENC_LAYERS = 1
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 4
    former = cfg.MODEL.MASK_FORMER
    former.HIDDEN_DIM = 64
    former.NHEADS = 4
    former.DIM_FEEDFORWARD = 48
    former.DEC_LAYERS = 3
    former.NUM_OBJECT_QUERIES = 8
    former.TRAIN_NUM_POINTS = 128
    return cfg


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", SHAPES_SPEC, progress=False)


@pytest.fixture(scope="session")
def shapes_datasets(shapes_folder):
    """{name without prefix: registered name} of the small folder."""
    from masqclip_d2.shapes.registration import register_shapes

    names = register_shapes(shapes_folder, prefix="small_")
    return {name.removeprefix("small_"): name for name in names}


@pytest.fixture
def forget():
    """Datasets that a test registers under these prefixes are gone after it."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
