"""Fixed seeds for every test, and a small Shapes folder; the Detectron2 choice happens before anything imports it."""

import masqclip_d2  # noqa: F401  isort: skip  (decides which Detectron2 is used)
import pytest
import torch


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _own_text_cache(tmp_path_factory):
    """Text embeddings are kept in a folder of this run, not in the user's; commands that tests start find it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASQCLIP_TEXT_CACHE", str(tmp_path_factory.mktemp("text_cache")))
        yield


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory):
    """A rendered Shapes folder: 8 training and 6 validation scenes, 16 captioned images, 16 close-ups."""
    from masqclip_d2.data.shapes import ShapesSpec, write_shapes

    datasets = tmp_path_factory.mktemp("datasets")
    write_shapes(datasets / "shapes", ShapesSpec(8, 6, 16, seed=5, num_closeups=16), num_workers=1)
    return datasets / "shapes"


@pytest.fixture(scope="session")
def mini_shapes(shapes_root):
    """Names of the datasets of `shapes_root`, which carry the prefix mini_."""
    from masqclip_d2.data.registration import register_shapes

    return register_shapes(shapes_root, prefix="mini_")
