import numpy as np
import pytest

from masqclip_d2.mask_inputs import as_mask_proposals
from tests.results.example import HW, example


def test_detections_have_boxes_masks_scores_and_names():
    pytest.importorskip("supervision")
    found = example().to_supervision()
    assert len(found) == 3 and found.xyxy[0].tolist() == [5, 5, 25, 25]
    assert found.class_id.tolist() == [1, 0, 2] and found.data["class_name"].tolist()[2] == "grass & <sky>"
    assert np.allclose(found.confidence, [0.9, 0.8, 0.2])
    assert all(np.array_equal(mask, segment.mask) for mask, segment in zip(found.mask, example(), strict=True))
    assert len(example()[:0].to_supervision()) == 0
    assert len(as_mask_proposals(found, HW)) == 3  # they are masks of `Predictor.encode`


def test_without_supervision_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"supervision: pip install 'masqclip_d2\[supervision\]'"):
        example().to_supervision()
