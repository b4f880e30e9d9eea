"""Predictions are drawn during training and written to TensorBoard's event file."""

import io

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage, TensorboardXWriter
from PIL import Image

from masqclip_d2.engine.prediction_images import PredictionImages
from masqclip_d2.engine.trainer import Trainer
from masqclip_d2.results.colors import category_colors
from tests.helpers import five_categories, random_image, tiny_config


def images_in(folder):
    """{tag: [(step, (H, W, 3) uint8)]} of the event files in a folder."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {
        tag: [(event.step, np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))) for event in
              accumulator.Images(tag)]
        for tag in accumulator.Tags()["images"]
    }  # fmt: skip


def prediction(category, hw=(40, 60)):
    """The left half is one thing."""
    ids = torch.zeros(hw, dtype=torch.int32)
    ids[:, :30] = 1
    return {"panoptic_seg": (ids, [{"id": 1, "category_id": category, "isthing": True, "score": 0.9}])}


def gray_record(name, height=40, width=60):
    image = torch.full((3, 20, 30), 128, dtype=torch.uint8)
    return {"image": image, "height": height, "width": width, "file_name": f"folder/{name}.png"}


def test_the_event_file_holds_the_first_predictions(tmp_path):
    evaluator = PredictionImages("some_set", five_categories(), count=2)
    with EventStorage(7):
        evaluator.process([gray_record("a")], [prediction(0)])
        evaluator.process([gray_record("b"), gray_record("c")], [prediction(1), prediction(2)])
        writer = TensorboardXWriter(str(tmp_path))
        writer.write()
        writer.close()
    assert evaluator.evaluate() is None
    images = images_in(tmp_path)
    assert set(images) == {"some_set/a", "some_set/b"}
    for index, name in enumerate("ab"):
        [(step, image)] = images[f"some_set/{name}"]
        assert step == 7 and image.shape == (480, 720, 3)  # enlarged, so that category names are legible
        assert (abs(image[20:60, 600:700].astype(int) - 128) <= 2).all()  # the right half is unchanged
        color = np.array(category_colors(five_categories())[index])
        covered = 0.45 * color + 0.55 * 128
        assert abs(image[400:460, 40:300].reshape(-1, 3).mean(0) - covered).max() < 12


def test_a_second_evaluation_draws_again_and_proposals_are_not_drawn():
    evaluator = PredictionImages("some_set", five_categories(), count=1)
    labels = {"sem_seg_labels": torch.zeros(40, 60, dtype=torch.int64), "sem_seg_confidence": torch.ones(40, 60)}
    drawn = []
    with EventStorage() as storage:
        storage.put_image = lambda name, image: drawn.append((name, image.shape))
        evaluator.process([gray_record("a")], [{"proposals": None}])
        for _ in range(2):
            evaluator.reset()
            evaluator.process([{"image": random_image(40, 60)}], [labels])
    assert drawn == [("some_set/0", (3, 480, 720))] * 2


@pytest.mark.parametrize("count", [0, 2])
def test_each_evaluation_in_training_draws_images(tmp_path, mini_shapes, count):
    cfg = tiny_config(
        tmp_path, "MasQCLIP", "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "('mini_shapes_val',)",
        "SOLVER.MAX_ITER", "4", "SOLVER.STEPS", "()", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0",
        "TEST.EVAL_PERIOD", "2", "TEST.NUM_VISUALIZATIONS", str(count),
    )  # fmt: skip
    Trainer(cfg).train()
    images = images_in(cfg.OUTPUT_DIR)
    assert len(images) == count and all(tag.startswith("mini_shapes_val/") for tag in images)
    for events in images.values():
        assert len(events) == 2  # during training and at its end
        assert events[0][0] < events[1][0] and min(events[0][1].shape[:2]) >= 480
