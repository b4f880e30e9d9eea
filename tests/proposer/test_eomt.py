"""EoMT by transformers: outputs as proposals, in the geometry of its own image processor; loading and its errors."""

import json
import sys

import pytest
import torch
from detectron2.modeling import build_model
from torch.nn import functional as F

from masqclip_d2.checkpoint import StrictCheckpointer
from masqclip_d2.meta_arch.required_weights import required_weights
from masqclip_d2.proposer import EomtProposer
from masqclip_d2.proposer.eomt import load_eomt
from tests.helpers import five_categories, random_image, tiny_config

transformers = pytest.importorskip("transformers", reason="needs the extra eomt")

NAME = "MODEL.MASQCLIP.PROPOSER.EOMT.NAME"
HW = ((48, 64), (90, 40), (64, 64), (7, 130), (1, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny EoMT of 5 classes, 7 queries and 64 x 64 pixels, as transformers saves it."""
    from transformers import EomtConfig, EomtForUniversalSegmentation

    torch.manual_seed(0)
    config = EomtConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=8, num_blocks=1,
        num_queries=7, num_labels=5, num_register_tokens=2,
    )  # fmt: skip
    model = EomtForUniversalSegmentation(config)
    torch.nn.init.normal_(model.class_predictor.weight, std=0.3)
    path = tmp_path_factory.mktemp("eomt")
    model.save_pretrained(path)
    return path


def make(folder, tmp_path, *opts):
    return EomtProposer(tiny_config(tmp_path, "MaskCLIP", NAME, str(folder), *opts)).eval()


@pytest.mark.parametrize("hw", HW)
def test_masks_and_scores_are_those_of_transformers(folder, tmp_path, hw):
    """Its own image processor, its model, and the first steps of its post-processing."""
    from transformers import EomtForUniversalSegmentation, EomtImageProcessor

    image = random_image(*hw)
    processor = EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True)
    if min(hw) > 1:  # the processor does not know images of one pixel
        inputs = processor(images=[image], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            outputs = EomtForUniversalSegmentation.from_pretrained(folder).eval()(pixel_values=inputs)
    [found] = make(folder, tmp_path).propose([{"image": image}])
    assert found.image_hw == found.padded_hw == hw and len(found) == 7
    if min(hw) == 1:
        return
    scores = 1 - outputs.class_queries_logits[0].softmax(-1)[:, -1]
    torch.testing.assert_close(found.object_scores, scores, atol=1e-5, rtol=1e-5)
    assert scores.max() - scores.min() > 0.01
    height, width = found.mask_logits.shape[1:]
    assert max(height, width) == 64
    full = F.interpolate(outputs.masks_queries_logits, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.mask_logits, full[0, :, :height, :width], atol=1e-4, rtol=1e-4)
    not_image = inputs[0, :, height:], inputs[0, :, :, width:]  # padding has one color
    assert all(len(part[channel].unique()) <= 1 for part in not_image for channel in range(3))


def test_batch_of_differing_sizes_equals_one_by_one(folder, tmp_path):
    proposer = make(folder, tmp_path)
    records = [{"image": random_image(*hw, seed)} for seed, hw in enumerate(HW)]
    for record, together in zip(records, proposer.propose(records), strict=True):
        [alone] = proposer.propose([record])
        torch.testing.assert_close(together.mask_logits, alone.mask_logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.object_scores, alone.object_scores)


def test_maskclip_with_eomt_segments_and_its_checkpoints_may_lack_the_proposer(folder, tmp_path):
    opts = ("MODEL.MASQCLIP.PROPOSER.SOURCE", "eomt", NAME, str(folder), "MODEL.MASQCLIP.RMA.LAYERS", "[1]")
    cfg = tiny_config(tmp_path, "MaskCLIP", *opts, "MODEL.MASQCLIP.TEST.OBJECT_SCORE", "True")
    model = build_model(cfg).eval()
    model.set_vocabulary(five_categories())
    [predictions] = model([{"image": random_image(48, 80)}])
    assert predictions["sem_seg_labels"].shape == (48, 80)
    assert not any(parameter.requires_grad for parameter in model.proposer.parameters())

    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("proposer.")}
    torch.save({"model": state}, tmp_path / "rma.pth")
    other = build_model(cfg).eval()
    StrictCheckpointer(other).load(str(tmp_path / "rma.pth"))
    other.set_vocabulary(five_categories())
    assert torch.equal(other([{"image": random_image(48, 80)}])[0]["sem_seg_labels"], predictions["sem_seg_labels"])


def test_files_of_the_hub_are_found_in_the_cache(folder, tmp_path, monkeypatch):
    """Without asking a server; they are among the weights that are looked for before a model is built."""
    monkeypatch.setenv("MASQCLIP_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cfg = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "eomt", NAME, "me/tiny-eomt")
    with pytest.raises(FileNotFoundError, match="hf://me/tiny-eomt/config.json"):
        load_eomt("me/tiny-eomt")
    assert [each.path for each in required_weights(cfg)] == [None, None]
    place = tmp_path / "hf" / "me" / "tiny-eomt" / "main"
    place.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (place / file).write_bytes((folder / file).read_bytes())
    assert [each.path.name for each in required_weights(cfg)] == ["config.json", "model.safetensors"]
    assert load_eomt("me/tiny-eomt").config.num_queries == 7


def test_older_files_of_tensors(folder, tmp_path):
    """pytorch_model.bin, read as data alone."""
    network = load_eomt(str(folder))
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    assert torch.equal(load_eomt(str(tmp_path)).query.weight, network.query.weight)


def test_weights_that_do_not_fit_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    state = load_eomt(str(folder)).state_dict()
    state.pop("class_predictor.bias")
    torch.save({**state, "stray": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="missing keys: class_predictor.bias; unexpected keys: stray"):
        load_eomt(str(tmp_path))


def test_another_model_is_refused(folder, tmp_path):
    content = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "model_type": "mask2former"}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="is a model of type 'mask2former'; expected an EoMT"):
        load_eomt(str(tmp_path))


@pytest.mark.parametrize("name", ["nothing", "/no/such/folder", "./no/folder", ""])
def test_names_that_cannot_exist(name):
    with pytest.raises(FileNotFoundError, match="EOMT.NAME .* neither a folder nor OWNER/REPO"):
        load_eomt(name)


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_eomt(str(tmp_path))


def test_without_transformers_the_message_names_the_extra(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # its import fails from now on
    with pytest.raises(ImportError, match=r"pip install 'masqclip_d2\[eomt\]'"):
        make(folder, tmp_path)


def test_padding_of_the_batch_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="EoMT pads images itself; set MODEL.MASQCLIP.PADDING 'image', got 'batch'"):
        make(folder, tmp_path, "MODEL.MASQCLIP.PADDING", "batch")
