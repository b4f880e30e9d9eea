"""A small Shapes folder, rendered once, and its datasets under names of their own."""

import pytest

from masqclip_d2.data.shapes import ShapesSpec, write_shapes

SPEC = ShapesSpec(num_train=40, num_val=8, num_captions=8, seed=3, num_closeups=8)


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", SPEC, progress=False)


@pytest.fixture(scope="session")
def shapes_datasets(shapes_folder):
    """{name without prefix: registered name} of the small folder."""
    from masqclip_d2.data.registration import register_shapes

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
