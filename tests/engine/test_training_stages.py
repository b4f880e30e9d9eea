"""The stages `rma`, `masq_tuning` and `student`: which parameters change, and what is written."""

from pathlib import Path

import pytest
import torch

from masqclip_d2.engine.trainer import Trainer
from tests.helpers import TINY_CLIP, tiny_config

SHORT = (
    "SOLVER.MAX_ITER", "2",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.STEPS", "()",
    "DATALOADER.NUM_WORKERS", "0",
    "DATASETS.TRAIN", "('mini_shapes_train',)",
    "DATASETS.TEST", "()",
    "SEED", "3",
)  # fmt: skip
STAGES = {
    "rma": ("MaskCLIP", "MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]"),
    "masq_tuning": ("MasQCLIP",),
}


@pytest.fixture
def teacher(tmp_path, mini_shapes):
    cfg = tiny_config(tmp_path, "MaskProposer", *SHORT, "OUTPUT_DIR", str(tmp_path / "teacher"))
    Trainer(cfg).train()
    return Path(cfg.OUTPUT_DIR) / "model_final.pth"


def stage_config(folder, stage, *opts):
    """Configuration of a stage with a CLIP from a file."""
    from masqclip_d2.clip.model import build_clip, save_clip

    clip = folder / "clip.safetensors"
    save_clip(clip, build_clip(TINY_CLIP))
    named = ("MODEL.MASQCLIP.CLIP.NAME", str(clip), "MODEL.MASQCLIP.CLIP.ARCHITECTURE", "")
    return tiny_config(folder, *STAGES[stage], *named, *SHORT, *opts)


def run(cfg):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    after = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)["model"]
    assert before.keys() == after.keys()
    return {name for name in after if not torch.equal(before[name], after[name])}, after


@pytest.mark.parametrize("stage", STAGES)
def test_only_the_parameters_of_the_stage_change(tmp_path, teacher, stage):
    changed, after = run(stage_config(tmp_path, stage, "MODEL.WEIGHTS", str(teacher)))
    trained = {name for name in after if name.startswith("visual_encoder.mask_attentions.")}
    assert changed == trained and trained
    proposer = torch.load(teacher, weights_only=True)["model"]
    assert all(
        torch.equal(after[f"proposer.{name}"], value) for name, value in proposer.items() if "criterion" not in name
    )


@pytest.mark.parametrize("stage", STAGES)
def test_an_evaluation_requires_the_trained_parameters(tmp_path, teacher, stage):
    cfg = stage_config(tmp_path, stage, "DATASETS.TEST", "('mini_shapes_val',)", "MODEL.WEIGHTS", str(teacher))
    with pytest.raises(ValueError, match=r"missing: visual_encoder\.mask_(attentions|embeddings)"):
        Trainer.evaluate_weights(cfg)


def test_the_training_vocabulary_returns_after_an_evaluation(tmp_path, teacher):
    opts = ("DATASETS.TEST", "('mini_shapes_val_instances',)", "TEST.EVAL_PERIOD", "1", "MODEL.WEIGHTS", str(teacher))
    cfg = stage_config(tmp_path, "masq_tuning", *opts)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    vocabulary = trainer.model.vocabulary
    trainer.train()
    assert trainer.model.vocabulary == vocabulary


def test_a_student_starts_as_its_teacher_and_learns_pseudo_masks(tmp_path, teacher):
    opts = (
        "MODEL.WEIGHTS", str(teacher),
        "MODEL.MASQCLIP.DISTILLATION.SCORE_THRESHOLD", "0.0",
        "MODEL.MASQCLIP.DISTILLATION.BASE_OVERLAP_LIMIT", "1.0",
        "VIS_PERIOD", "1",
    )  # fmt: skip
    cfg = tiny_config(tmp_path, "MaskDistiller", *SHORT, *opts)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    initial = torch.load(teacher, weights_only=True)["model"]
    assert initial.keys() == trainer.model.state_dict().keys()
    assert all(torch.equal(value, initial[name]) for name, value in trainer.model.state_dict().items())
    records = next(iter(Trainer.build_train_loader(cfg)))
    trainer.model.eval()
    extended = trainer.model.with_pseudo_masks(records)
    for record, longer in zip(records, extended, strict=True):
        masks, base = longer["instances"].gt_masks.tensor, record["instances"].gt_masks.tensor
        assert torch.equal(masks[: len(base)], base)
    added = [
        len(longer["instances"]) - len(record["instances"]) for record, longer in zip(records, extended, strict=True)
    ]
    assert max(added) > 0
    trainer.model.train()
    trainer.train()
    teacher_after = trainer.model._teacher[0].state_dict()
    assert all(torch.equal(value, initial[name]) for name, value in teacher_after.items())
    metrics = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text()
    assert "pseudo_masks_per_image" in metrics


def test_a_student_without_a_teacher_is_an_error_with_a_hint(tmp_path, mini_shapes):
    trainer = Trainer(tiny_config(tmp_path, "MaskDistiller", *SHORT))
    with pytest.raises(ValueError, match="DISTILLATION.TEACHER"):
        trainer.train()


def test_masqclip_without_tuning_needs_proposer_and_clip_only(tmp_path, teacher):
    opts = ("MODEL.MASQCLIP.MASQ_TUNING.PROJECTIONS", "[]", "DATASETS.TEST", "('mini_shapes_val',)")
    results = Trainer.evaluate_weights(stage_config(tmp_path, "masq_tuning", *opts, "MODEL.WEIGHTS", str(teacher)))
    assert 0 <= results["panoptic_seg"]["PQ"] <= 100
