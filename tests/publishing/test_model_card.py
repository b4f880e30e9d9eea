"""Cards of published models."""

import pytest
import yaml

from masqclip_d2.publishing import model_card


def test_the_header_is_what_the_hub_reads(toy):
    predictor, _, _ = toy
    card = model_card(predictor.cfg, predictor.model, "cc-by-4.0", "me/toy")
    _, header, body = card.split("---\n", 2)
    header = yaml.safe_load(header)
    assert header["license"] == "cc-by-4.0" and header["library_name"] == "masqclip_d2"
    assert header["pipeline_tag"] == "image-segmentation"
    assert 'Predictor.from_pretrained("hf://me/toy")' in body and "| meta-architecture | MasQCLIP |" in body
    assert "| CLIP | masqclip://shapes_clip |" in body and "None were given." in body
    assert "masqclip_shapes_train; 400 iterations of 8 images, learning rate 0.001." in body


@pytest.mark.parametrize("license", ["", "Apache 2.0", "mit\ntags: x"])
def test_a_licence_is_an_identifier(toy, license):
    with pytest.raises(ValueError, match="expected an identifier such as apache-2.0"):
        model_card(toy[0].cfg, toy[0].model, license)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"val": 3}, "Metrics of val are int"),
        ({"val": {"sem_seg": [1]}}, "Metrics of val, sem_seg are list"),
        ({"val": {"sem_seg": {"mIoU": "high"}}}, "'mIoU' of val, sem_seg is no number: 'high'"),
    ],
)
def test_metrics_are_numbers_by_dataset_task_and_name(toy, metrics, message):
    with pytest.raises(ValueError, match=message):
        model_card(toy[0].cfg, toy[0].model, "mit", metrics=metrics)


def test_names_cannot_break_the_table(toy):
    card = model_card(toy[0].cfg, toy[0].model, "mit", metrics={"a|b\nc": {"t": {"m": 1}}})
    assert "| a\\|b c | t | m | 1.00 |" in card
