import pytest

from masqclip_d2 import Predictor
from masqclip_d2.engine.trainer import Trainer
from masqclip_d2.evaluation.build import tasks_of_config
from tests.helpers import tiny_config


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path):
    cfg = tiny_config(tmp_path, "MaskClip")
    message = "MODEL.META_ARCHITECTURE is 'MaskClip'; known: .*MasQCLIP.* Did you mean 'MaskCLIP'. .*--import FILE"
    for call in (Trainer.build_model, tasks_of_config):
        with pytest.raises(ValueError, match=message):
            call(cfg)
    with pytest.raises(ValueError, match=message):
        Predictor("base/shapes", opts=["MODEL.META_ARCHITECTURE", "MaskClip"])
