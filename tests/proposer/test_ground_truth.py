import pytest
import torch
from detectron2.structures import BitMasks, Instances

from masqclip_d2.proposer import GroundTruthProposer
from tests.helpers import random_image


@pytest.mark.parametrize("as_structure", [BitMasks, lambda masks: masks], ids=["BitMasks", "tensor"])
def test_annotated_masks_in_their_order_with_score_1(as_structure):
    masks = torch.rand(3, 6, 9) > 0.5
    record = {"image": random_image(6, 9), "instances": Instances((6, 9), gt_masks=as_structure(masks))}
    [proposals] = GroundTruthProposer().propose([record])
    assert torch.equal(proposals.mask_logits > 0, masks)
    assert proposals.object_scores.tolist() == [1, 1, 1]
    assert proposals.image_hw == (6, 9)


def test_an_image_without_annotated_objects_has_no_proposals():
    [proposals] = GroundTruthProposer().propose([{"image": random_image(6, 9), "instances": Instances((6, 9))}])
    assert len(proposals) == 0 and proposals.mask_logits.shape == (0, 6, 9)


def test_a_record_without_annotation_is_refused():
    with pytest.raises(ValueError, match="annotation of photo.jpg.*no 'instances'"):
        GroundTruthProposer().propose([{"image": random_image(8, 8), "file_name": "photo.jpg"}])


def test_it_has_no_weights():
    assert GroundTruthProposer().state_dict() == {}


@pytest.mark.gpu
def test_proposals_are_on_the_device_of_the_proposer():
    record = {"image": random_image(6, 9), "instances": Instances((6, 9), gt_masks=torch.ones(2, 6, 9).bool())}
    [proposals] = GroundTruthProposer().to("cuda").propose([record])
    assert proposals.mask_logits.is_cuda and proposals.object_scores.is_cuda
