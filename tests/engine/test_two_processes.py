"""Two CPU processes (gloo) train and evaluate as one does: equal data, losses, weights and metrics."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.forked import run_python
from tests.helpers import TINY_PROPOSER, tiny_clip_file
from tests.original_formats import write_image, write_json

ROOT = Path(__file__).resolve().parent.parent.parent
COMMON = [
    *TINY_PROPOSER, "SEED", "4", "SOLVER.MAX_ITER", "3", "SOLVER.STEPS", "()", "SOLVER.IMS_PER_BATCH", "4",
    "SOLVER.BASE_LR", "0.001", "INPUT.RANDOM_FLIP", "none", "DATALOADER.NUM_WORKERS", "0",
    "DATALOADER.ASPECT_RATIO_GROUPING", "False", "MODEL.MASQCLIP.PADDING", "image",
    "DATASETS.TEST", "('masqclip_shapes_val',)",
]  # fmt: skip


def _run(root, output, num_gpus, *options, config="base/shapes", spawn=False):
    """Run train_net.py; `spawn`: from a new interpreter that starts new ones, which import everything."""
    environment = {**os.environ, "DETECTRON2_DATASETS": "datasets", "OMP_NUM_THREADS": "1"}
    folder = root.parent.parent
    command = [str(ROOT / "train_net.py"), "--config-file", config, "--num-gpus", str(num_gpus)]
    command += [*options, "OUTPUT_DIR", str(output)]
    if spawn:
        command = [sys.executable, *command]
        finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    else:
        finished = run_python(command, cwd=folder, env=environment, fork_children=True)
    assert finished.returncode == 0, finished.stderr[-3000:]


def _weights(output):
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


@pytest.mark.slow
def test_two_processes_train_the_same_clip_as_one(shapes_root, tmp_path):
    """The contrastive loss compares over all processes and nothing in this stage is random: equal weights."""
    stage = [
        "MODEL.META_ARCHITECTURE", "ClipPretraining", "MODEL.MASQCLIP.CLIP.NAME", "",
        "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path)),
        "INPUT.DATASET_MAPPER_NAME", "captions",
        # SGD, since AdamW amplifies rounding errors of gradients that are 0.
        "SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", "0.1",
        "INPUT.IMAGE_SIZE", "32", "DATASETS.TRAIN", "('masqclip_shapes_closeups',)",
    ]  # fmt: skip
    for name, num_gpus in (("one", 0), ("two", 2)):
        _run(shapes_root, tmp_path / name, num_gpus, *COMMON, "DATASETS.TEST", "()", *stage)
    one, two = (_weights(tmp_path / name) for name in ("one", "two"))
    assert one.keys() == two.keys()  # no "module." prefix
    for name in one:
        torch.testing.assert_close(
            two[name], one[name], atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_two_processes_train_and_evaluate_a_proposer(shapes_root, tmp_path):
    """Trained by two processes; the metrics of the same weights do not depend on the number of processes."""
    _run(shapes_root, tmp_path / "trained", 2, *COMMON, spawn=True)
    assert (tmp_path / "trained" / "log.txt.rank1").exists()
    metrics = []
    for num_gpus in (0, 2):
        output = tmp_path / f"evaluated_{num_gpus}"
        weights = str(tmp_path / "trained" / "model_final.pth")
        _run(shapes_root, output, num_gpus, "--eval-only", *COMMON, "MODEL.WEIGHTS", weights)
        metrics.append(json.loads((output / "results.json").read_text())["results"])
    assert metrics[0] == metrics[1] and "AR@100" in metrics[0]["masqclip_shapes_val"]["proposals"]


@pytest.mark.slow
def test_a_dataset_of_one_image_is_enough_for_two_processes(shapes_root, tmp_path):
    """Both train on it; one of them evaluates nothing."""
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
    annotation["segmentation"] = [[5, 5, 25, 5, 25, 25, 5, 25]]
    images = [{"id": 1, "file_name": "1.png", "height": 40, "width": 50}]
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "block"}]}
    write_json(tmp_path / "one.json", content)
    write_image(tmp_path / "1.png", 50, 40)
    register = f"masqclip_d2.register_instances('one', {str(tmp_path)!r}, {str(tmp_path / 'one.json')!r})"
    (tmp_path / "one.py").write_text(f"import masqclip_d2\n{register}\n")
    one = ["--import", str(tmp_path / "one.py"), *COMMON, "INPUT.DATASET_MAPPER_NAME", "instance"]
    one += ["DATASETS.TRAIN", "('one',)", "DATASETS.TEST", "('one',)", "SOLVER.MAX_ITER", "2"]
    _run(shapes_root, tmp_path / "two", 2, *one)
    weights = str(tmp_path / "two" / "model_final.pth")
    _run(shapes_root, tmp_path / "alone", 0, "--eval-only", *one, "MODEL.WEIGHTS", weights)
    two, alone = (json.loads((tmp_path / name / "results.json").read_text())["results"] for name in ("two", "alone"))
    assert two == alone and two["one"]["proposals"]["AR@100"] >= 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["maskclip_r50", "masqclip_r50"])
def test_two_processes_train_and_evaluate_a_method_by_its_headline_config(method, shapes_root, tmp_path):
    """`train_net.py --config-file configs/masqclip_r50.yaml --num-gpus 2`, with small data and small networks."""
    from detectron2.modeling import build_model

    from masqclip_d2.config import load_config

    config = f"configs/{method}.yaml"
    small = [
        *COMMON, "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2", "SOLVER.AMP.ENABLED", "False",
        "MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64",
        "MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path)),
        "INPUT.IMAGE_SIZE", "128", "INPUT.MIN_SIZE_TEST", "128", "MODEL.MASQCLIP.RMA.LAYERS",
        "[1, 2]" if method == "maskclip_r50" else "[]", "DATASETS.TRAIN", "('masqclip_shapes_train',)",
    ]  # fmt: skip
    cfg = load_config(config, small)
    start = tmp_path / "start.pth"  # a file with all names, since this CLIP has no file of its own
    before = build_model(cfg).state_dict()
    torch.save({"model": before}, start)
    _run(shapes_root, tmp_path / "run", 2, *small, "MODEL.WEIGHTS", str(start), config=str(ROOT / config))
    after = _weights(tmp_path / "run")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all(name.startswith("visual_encoder.mask_attentions.") for name in changed)
    results = json.loads((tmp_path / "run" / "results.json").read_text())["results"]["masqclip_shapes_val"]
    assert {"panoptic_seg", "sem_seg", "segm"} <= set(results)
