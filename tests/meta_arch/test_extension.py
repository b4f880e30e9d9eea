"""A third method on the same base: one file of a user, trained, evaluated and used from Python."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY, build_model

from masqclip_d2 import Predictor
from masqclip_d2.engine.trainer import Trainer
from masqclip_d2.user_code import import_user_code
from tests.helpers import TINY_PROPOSER, five_categories, random_image, tiny_clip_file, tiny_config

FILE = Path(__file__).parent / "examples" / "mask_pooling.py"
TRAINING = (
    "SOLVER.MAX_ITER", "8", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "()", "SOLVER.BASE_LR", "0.01",
    "DATALOADER.NUM_WORKERS", "0", "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "('mini_shapes_val',)",
    "MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth",
)  # fmt: skip


@pytest.fixture(scope="module")
def mask_pooling():
    """The imported file; its registration is undone after the tests."""
    registered, modules = dict(META_ARCH_REGISTRY._obj_map), set(sys.modules)
    import_user_code([str(FILE)])
    yield str(FILE)
    META_ARCH_REGISTRY._obj_map.clear()
    META_ARCH_REGISTRY._obj_map.update(registered)
    for name in set(sys.modules) - modules:
        if "mask_pooling" in name:
            del sys.modules[name]


def test_the_file_is_short():
    assert len(FILE.read_text().splitlines()) < 80


def test_it_predicts_and_can_be_copied(tmp_path, mask_pooling):
    model = build_model(tiny_config(tmp_path, "MaskPooling")).eval()
    model.set_vocabulary(five_categories())
    records = [{"image": random_image(40, 72), "height": 55, "width": 31}, {"image": random_image(1, 1)}]
    for record, prediction in zip(records, model(records), strict=True):
        hw = (record.get("height", 1), record.get("width", 1))
        assert prediction["sem_seg_labels"].shape == prediction["panoptic_seg"][0].shape == hw
        assert torch.isfinite(prediction["sem_seg_confidence"]).all()
        [again] = copy.deepcopy(model)([record])
        torch.testing.assert_close(again["sem_seg_confidence"], prediction["sem_seg_confidence"], atol=1e-4, rtol=1e-4)


def test_it_trains_and_is_evaluated(tmp_path, mini_shapes, mask_pooling):
    cfg = tiny_config(tmp_path, "MaskPooling", *TRAINING)
    trainer = Trainer(cfg)
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.resume_or_load(resume=False)
    trainer.train()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"visual_encoder.adapter.weight", "visual_encoder.adapter.bias"}
    cfg.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    results = Trainer.evaluate_weights(cfg)
    assert {"panoptic_seg", "sem_seg", "mask_classification"} <= results.keys()
    assert 0 <= results["mask_classification"]["top1"] <= 100


def test_predictor_imports_it(tmp_path, mask_pooling):
    clip = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path))]
    opts = [*TINY_PROPOSER, "MODEL.META_ARCHITECTURE", "MaskPooling", *clip]
    predictor = Predictor("base/shapes", opts=opts, imports=[mask_pooling])
    masks = np.ones((1, 20, 30), dtype=bool)
    [segment] = predictor(np.zeros((20, 30, 3), dtype=np.uint8), "cat,dog", task="semantic", masks=masks).segments
    assert segment.mask.all()
