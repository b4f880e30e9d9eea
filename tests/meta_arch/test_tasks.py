"""Settings of predictions."""

import pytest

from masqclip_d2.meta_arch.tasks import TASK_NAMES, Tasks
from tests.helpers import tiny_config


def test_settings_come_from_the_configuration(tmp_path):
    cfg = tiny_config(
        tmp_path, "MaskCLIP",
        "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "False",
        "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True",
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON", "True",
        "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.25",
        "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.75",
        "MODEL.MASQCLIP.TEST.CLASS_MAPS", "True",
        "TEST.DETECTIONS_PER_IMAGE", "7",
    )  # fmt: skip
    tasks = Tasks.from_config(cfg)
    assert tasks.names == ("panoptic", "instance")
    assert (tasks.object_threshold, tasks.overlap_threshold, tasks.topk, tasks.class_maps) == (0.25, 0.75, 7, True)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_one_task_alone_keeps_the_settings(name):
    tasks = Tasks(topk=5).only(name)
    assert tasks.names == (name,) and tasks.topk == 5


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="'boxes'; expected one of panoptic, semantic, instance"):
        Tasks().only("boxes")
