"""Every stage that trains on masks can be trained on datasets that have only semantic label maps."""

from pathlib import Path

import pytest
import torch

from masqclip_d2 import register_semantic
from masqclip_d2.categories import load_categories
from masqclip_d2.engine.trainer import Trainer
from tests.helpers import TINY_CLIP, tiny_config

SHORT = (
    "SOLVER.MAX_ITER", "2",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.STEPS", "()",
    "DATALOADER.NUM_WORKERS", "0",
    "INPUT.DATASET_MAPPER_NAME", "semantic",
    "DATASETS.TRAIN", "('semantic_shapes',)",
    "DATASETS.TEST", "()",
)  # fmt: skip
STAGES = {
    "teacher": ("MaskProposer",),
    "rma": ("MaskCLIP", "MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]"),
    "masq_tuning": ("MasQCLIP",),
}


@pytest.fixture(scope="module")
def semantic_shapes(shapes_root):
    names = [category.name for category in load_categories("shapes")]
    return register_semantic("semantic_shapes", shapes_root / "train", shapes_root / "semantic_train", names)


@pytest.fixture
def clip(tmp_path):
    from masqclip_d2.clip.model import build_clip, save_clip

    save_clip(tmp_path / "clip.safetensors", build_clip(TINY_CLIP))
    return "MODEL.MASQCLIP.CLIP.NAME", str(tmp_path / "clip.safetensors"), "MODEL.MASQCLIP.CLIP.ARCHITECTURE", ""


@pytest.mark.parametrize("mapper", ["semantic", "semantic_lsj"])
@pytest.mark.parametrize("stage", STAGES)
def test_two_steps(tmp_path, semantic_shapes, clip, stage, mapper):
    of_stage = () if stage == "teacher" else clip
    small = ("INPUT.IMAGE_SIZE", "64", "INPUT.DATASET_MAPPER_NAME", mapper)
    trainer = Trainer(tiny_config(tmp_path, *STAGES[stage], *of_stage, *SHORT, *small))
    before = {name: value.clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    trainer.train()
    after = torch.load(Path(trainer.cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)["model"]
    assert before and any(not torch.equal(value, after[name]) for name, value in before.items())
    assert all(torch.isfinite(after[name]).all() for name in before)
    if stage != "teacher":
        assert len(trainer.model.vocabulary) == 42


def test_a_panoptic_mapper_names_what_the_dataset_lacks(tmp_path, semantic_shapes):
    trainer = Trainer(tiny_config(tmp_path, "MaskProposer", *SHORT, "INPUT.DATASET_MAPPER_NAME", "panoptic"))
    with pytest.raises(ValueError, match="has no pan_seg_file_name, segments_info, which this mapper needs; choose"):
        trainer.train()
