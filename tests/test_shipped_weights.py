"""The shipped weights have the metrics of their card, on newly rendered scenes."""

import re
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

import masqclip_d2
from masqclip_d2.checkpoint.reading import SHIPPED_PREFIX
from masqclip_d2.config import adapt_to_machine, load_config
from masqclip_d2.predictor import Predictor
from masqclip_d2.shapes.registration import register_shapes
from masqclip_d2.shapes.rendering import ShapesSpec, write_shapes

WEIGHTS = Path(masqclip_d2.__file__).parent / "weights"
CARD = (WEIGHTS / "README.md").read_text()
NUM_SCENES = 60
TOLERANCE = 1.0  # percent points: rounding depends on CPU and threads, and 60 scenes are few
MAX_MEBIBYTES = 25


def card_rows() -> dict[tuple[str, str], dict[str, float]]:
    """(configuration, weights) -> "task/metric" -> percent, from the table of the card."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for config, weights, metric, value in re.findall(r"^\| `(.+?)` \| `?(.*?)`? \| (\S+) \| ([\d.]+) \|$", CARD, re.M):
        rows.setdefault((config, weights), {})[metric] = float(value)
    return rows


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Name of a dataset with the first validation scenes of seed 0."""
    root = tmp_path_factory.mktemp("fresh") / "shapes"
    write_shapes(root, ShapesSpec(1, NUM_SCENES, 0, seed=0), num_workers=2, progress=False)
    names = register_shapes(root, prefix="fresh_")
    yield next(name for name in names if name.endswith("shapes_val"))
    for name in names:  # tests of a module may be spread over a process's time, each part with its own scenes
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_card_describes_every_file_and_its_training():
    files = sorted(path.name for path in WEIGHTS.glob("*.safetensors"))
    assert files and sum((WEIGHTS / name).stat().st_size for name in files) < MAX_MEBIBYTES * 2**20
    for name in files:
        section = re.search(rf"^## `{re.escape(name)}`\n(.*?)(?=^## |\Z)", CARD, re.M | re.S)
        assert section is not None, name
        assert re.search(r"^(python|masqclip) ", section[1], re.M) and re.search(r"[Ss]eed \d", section[1]), name
        assert re.search(r"commit `[0-9a-f]{7,40}`", section[1]), name
    named = {weights.removeprefix(SHIPPED_PREFIX) + ".safetensors" for _, weights in card_rows() if weights}
    assert named <= set(files)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "weights"), card_rows())
def test_metrics_are_those_of_the_card(config, weights, scenes, tmp_path):
    from masqclip_d2.engine.trainer import Trainer

    opts = ["DATASETS.TEST", f"('{scenes}',)", "OUTPUT_DIR", str(tmp_path), "DATALOADER.NUM_WORKERS", "0"]
    cfg = load_config(config, [*opts, "MODEL.WEIGHTS", weights])
    adapt_to_machine(cfg)
    assert len(DatasetCatalog.get(scenes)) == NUM_SCENES
    results = Trainer.evaluate_weights(cfg)
    found = {f"{task}/{metric}": value for task, metrics in results.items() for metric, value in metrics.items()}
    for metric, expected in card_rows()[config, weights].items():
        assert found[metric] == pytest.approx(expected, abs=TOLERANCE), metric


def test_load_by_name_and_by_path():
    config, weights = next((c, w) for c, w in card_rows() if "teacher" not in c and w)
    by_name = Predictor(config, weights)
    by_path = Predictor(config, WEIGHTS / f"{weights.removeprefix(SHIPPED_PREFIX)}.safetensors")
    parameters = dict(by_path.model.named_parameters())
    assert all(parameter.equal(parameters[name]) for name, parameter in by_name.model.named_parameters())
