"""The Python API: images, masks and category names in, segments out."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from masqclip_d2 import Predictor, Vocabulary
from masqclip_d2.proposer import PROPOSER_REGISTRY
from masqclip_d2.structures import EncodedImage
from masqclip_d2.vocabulary import save_vocabulary
from tests.helpers import TINY_PROPOSER, tiny_clip_file

ALL_SEGMENTS = [
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0",
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0",
]  # fmt: skip


@pytest.fixture
def make_predictor(tmp_path):
    def make(*opts, meta_architecture="MaskCLIP", imports=()):
        clip = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path))]
        opts = [*TINY_PROPOSER, "MODEL.META_ARCHITECTURE", meta_architecture, *clip, *ALL_SEGMENTS, *opts]
        return Predictor("base/shapes", opts=opts, imports=imports)

    return make


@pytest.fixture
def predictor(make_predictor):
    return make_predictor()


@pytest.fixture
def image():
    return random_pixels(33, 47)


def random_pixels(height, width, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def quarters(image):
    """Four masks that cover the image."""
    masks = np.zeros((4, *image.shape[:2]), dtype=bool)
    half, middle = image.shape[0] // 2, image.shape[1] // 2
    masks[0, :half, :middle] = masks[1, :half, middle:] = True
    masks[2, half:, :middle] = masks[3, half:, middle:] = True
    return masks


def refuse_networks(predictor, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a network ran")

    monkeypatch.setattr(predictor.model.proposer, "propose", refuse)
    monkeypatch.setattr(predictor.model.visual_encoder, "forward", refuse)


def test_segments_agree_with_the_label_map(predictor, image):
    result = predictor(image, "a,b", stuff="c")
    assert result.image is image and result.task == "panoptic" and result.segments
    labels = result.label_map()
    assert labels.shape == (33, 47)
    for segment in result.segments:
        assert segment.mask.shape == (33, 47) and (labels[segment.mask] == segment.category_id).all()
        assert segment.area == segment.mask.sum()
    assert predictor(image, "a,b,c", confidence_threshold=1.0).segments == []


def test_semantic_predictions_are_those_of_the_model(predictor, image):
    vocabulary = Vocabulary.from_names("a,b,c")
    semantic = predictor(image, vocabulary, task="semantic")
    predictor.model.set_vocabulary(vocabulary)
    record = {"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}
    prediction = predictor.model([record])[0]
    assert np.array_equal(semantic.label_map(), prediction["sem_seg_labels"].numpy())
    confidence = prediction["sem_seg_confidence"].numpy()
    for segment in semantic.segments:
        assert segment.score == pytest.approx(min(1.0, confidence[segment.mask].mean()))


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_encode_then_predict_is_the_call(predictor, image, monkeypatch, task):
    expected = [predictor(image, names, task=task).to_dict() for names in ("a,b", "c,d,e")]
    encoded = predictor.encode(image)
    refuse_networks(predictor, monkeypatch)
    assert [predictor.predict(encoded, names, task=task).to_dict() for names in ("a,b", "c,d,e")] == expected


def test_encoded_images_can_be_stored(predictor, image):
    encoded = predictor.encode(image)
    restored = pickle.loads(pickle.dumps(encoded)).to("cpu")
    assert predictor.predict(restored, "a,b").to_dict() == predictor.predict(encoded, "a,b").to_dict()


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_masks_of_the_user_become_segments_of_every_task(predictor, image, monkeypatch, task):
    masks = quarters(image)
    monkeypatch.setattr(predictor.model.proposer, "propose", None)
    result = predictor.predict(predictor.encode(image, masks=masks), "a,b,c", task=task)
    assert result.segments and result.task == task
    if task != "semantic":
        found = {segment.mask.tobytes() for segment in result.segments}
        assert found <= {mask.tobytes() for mask in masks}
    assert predictor(image, "a,b,c", task=task, masks=masks).to_dict() == result.to_dict()


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_background_prompts_of_the_argument_the_vocabulary_and_the_configuration(predictor, image, task):
    encoded = predictor.encode(image, masks=quarters(image))
    assert not predictor.predict(encoded, "a,b", task=task).rejected  # off by default
    found = predictor.predict(encoded, "a,b", task=task, background_prompts=("c", "d"), unknown_threshold=0.9)
    assert found.rejected and {region.prompt for region in found.rejected} <= {"c", "d"}
    assert sum(region.area for region in found.rejected) == (found.label_map() < 0).sum()
    assert set(found.to_dict()["rejected"][0]) == {"prompt", "score", "area", "box"}
    own = Vocabulary(("a", "b"), (True, True), background_prompts=("c", "d"))
    assert predictor.predict(encoded, own, task=task, unknown_threshold=0.9).to_dict() == found.to_dict()
    assert not predictor.predict(encoded, own, task=task, background_prompts=()).rejected
    assert not predictor.predict(encoded, own, task=task, unknown_threshold=0.0).rejected
    with pytest.raises(ValueError, match="unknown_threshold must lie in"):
        predictor.predict(encoded, own, task=task, unknown_threshold=2)
    one_call = predictor(image, own, task=task, masks=quarters(image), unknown_threshold=0.9)
    assert one_call.to_dict() == found.to_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unknown_threshold": -0.1}, "unknown_threshold must lie in"),
        ({"confidence_threshold": float("nan")}, r"confidence_threshold must lie in \[0, 1\], got nan"),
        ({"background_prompts": ["circle " * 30]}, "needs .* tokens, but the context length of this CLIP is"),
        ({"background_prompts": "coco"}, "no background prompts 'coco'; known: coco_lvis"),
        ({"background_prompts": ["A"]}, "'A' is both a background prompt and a name of category 'a'"),
    ],
)
def test_bad_settings_stop_before_a_network_runs(predictor, image, monkeypatch, settings, message):
    refuse_networks(predictor, monkeypatch)
    for call in (lambda: predictor(image, "a", **settings), lambda: predictor.batch([image], "a", **settings)):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_configuration_names_the_background_prompts(make_predictor, image, monkeypatch):
    predictor = make_predictor("MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS", "coco_lvis")
    seen = []

    def predict(encoded, vocabulary, tasks):
        seen.append(vocabulary.background_prompts)
        return {"panoptic_seg": (torch.zeros(33, 47, dtype=torch.int32), [])}

    monkeypatch.setattr(predictor.model, "predict", predict)
    monkeypatch.setattr(predictor.model, "embed_vocabulary", lambda vocabulary: None)  # some are too long for it
    predictor(image, "dog")
    predictor(image, "dog", background_prompts="")
    predictor.batch([image], "dog", background_prompts=["a cat"])
    assert len(seen[0]) > 1000 and "cat" in seen[0] and "dog" not in seen[0]
    assert seen[1:] == [(), ("a cat",)]


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
@pytest.mark.parametrize("count", [0, 2])
def test_pixels_outside_of_the_masks_of_the_user_are_in_no_segment(predictor, image, task, count):
    masks = quarters(image)[:count]
    result = predictor(image, "a,b,c", task=task, masks=masks)
    assert np.array_equal(result.label_map() >= 0, masks.any(axis=0))


def test_masks_of_the_user_are_classified_one_by_one(predictor, image):
    encoded = predictor.encode(image, masks=quarters(image))
    assert len(encoded) == 4 and encoded.output_hw == (33, 47)
    torch.testing.assert_close(encoded.unit_embeddings.norm(dim=1), torch.ones(4))
    probabilities = predictor.class_probs(encoded, "a,b,c,d")
    assert probabilities.shape == (4, 4)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
    alone = predictor.encode(image, masks=quarters(image)[2])
    torch.testing.assert_close(alone.unit_embeddings[0], encoded.unit_embeddings[2], atol=1e-5, rtol=1e-5)


def test_scores_of_masks_are_object_scores(make_predictor, image):
    predictor = make_predictor("MODEL.MASQCLIP.TEST.OBJECT_SCORE", "True")
    scores = {mask.tobytes(): score for mask, score in zip(quarters(image), (1, 1, 0.5, 0), strict=True)}
    masks = [{"segmentation": mask, "predicted_iou": scores[mask.tobytes()]} for mask in quarters(image)]
    plain, scored = (predictor(image, "a", masks=given, task="instance").segments for given in (quarters(image), masks))
    assert len(plain) == len(scored) == 4
    scored = {segment.mask.tobytes(): segment.score for segment in scored}
    for segment in plain:
        key = segment.mask.tobytes()
        assert scored[key] == pytest.approx(scores[key] * segment.score, rel=1e-4)


def test_masks_of_another_size_are_refused(predictor, image):
    with pytest.raises(ValueError, match=r"\(N, 33, 47\)"):
        predictor.encode(image, masks=np.zeros((1, 10, 10), dtype=bool))


@pytest.mark.parametrize("padding", ["image", "batch"])
def test_a_batch_equals_single_images(make_predictor, monkeypatch, padding):
    predictor = make_predictor("MODEL.MASQCLIP.PADDING", padding, "INPUT.MIN_SIZE_TEST", "0")
    images = [random_pixels(*hw, seed) for seed, hw in enumerate([(33, 47), (64, 64), (33, 47), (20, 90), (33, 45)])]
    singles = [predictor(image, "a,b,c", stuff="d") for image in images]
    sizes = []
    propose_in_batch = predictor.model.proposer.propose_in_batch

    def recorded(batch, image_hw):
        sizes.append(len(batch))
        return propose_in_batch(batch, image_hw)

    monkeypatch.setattr(predictor.model.proposer, "propose_in_batch", recorded)
    for single, one in zip(singles, predictor.batch(images, "a,b,c", stuff="d"), strict=True):
        assert one.image is single.image
        assert np.mean(one.label_map() == single.label_map()) > 0.99
        assert len(one.segments) == len(single.segments)
        for segment, expected in zip(one.segments, single.segments, strict=True):
            assert segment.label == expected.label and segment.score == pytest.approx(expected.score, abs=1e-4)
    assert sorted(sizes) == ([1, 4] if padding == "image" else [1, 1, 1, 2])  # four are padded to 64 x 64
    sizes.clear()
    assert len(predictor.batch(iter(images), "a", batch_size=2)) == 5 and max(sizes) <= 2
    assert predictor.batch([], "a") == []


def test_files_pil_images_and_arrays_are_the_same(predictor, image, tmp_path):
    as_pil = Image.fromarray(image)
    as_pil.save(tmp_path / "image.png")
    expected = predictor(image, "a,b").to_dict()
    for one in (as_pil, as_pil.convert("RGBA"), str(tmp_path / "image.png"), tmp_path / "image.png"):
        assert predictor(one, "a,b").to_dict() == expected
    embeddings = [predictor.encode(one, masks=quarters(image)).unit_embeddings for one in (as_pil, image)]
    assert torch.equal(*embeddings)


def test_large_files_need_a_key(make_predictor, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "a.png")
    limited = make_predictor("INPUT.MAX_MEGAPIXELS", "0")
    for call in (limited.encode, lambda file: limited.batch([file], "cat")):
        with pytest.raises(ValueError, match="more than the limit of 0;"):
            call(tmp_path / "a.png")
    limited.encode(image)  # pixels of the caller are not limited


def test_records_of_files_carry_the_file_name(predictor, image, tmp_path, monkeypatch):
    Image.fromarray(image).save(tmp_path / "image.png")
    records = []
    propose = predictor.model.proposer.propose
    monkeypatch.setattr(predictor.model.proposer, "propose", lambda batch: records.extend(batch) or propose(batch))
    for given in (tmp_path / "image.png", image):
        predictor(given, "a")
    assert records[0]["file_name"] == str(tmp_path / "image.png") and "file_name" not in records[1]
    assert all((record["height"], record["width"]) == (33, 47) for record in records)


def test_objects_that_are_no_images_are_refused(predictor, image):
    with pytest.raises(ValueError, match=r"a tensor \(3, H, W\).* got uint8 \(33, 47, 3\)"):
        predictor(torch.from_numpy(image), "a")


@pytest.mark.parametrize("array", [np.zeros((5,), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_arrays_that_are_no_images_are_refused(predictor, array):
    with pytest.raises(ValueError, match="of uint8 or uint16"):
        predictor(array, "a")


def test_vocabularies_come_from_names_files_and_shipped_ones(predictor, image, tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary = Vocabulary.from_names("a|b,c", stuff="d")
    save_vocabulary(vocabulary, path)
    for given in (path, str(path)):
        assert predictor(image, given).vocabulary == vocabulary
    assert predictor(image, "shapes/masqclip").vocabulary.groups  # shipped
    assert predictor(image, "shapes/other").vocabulary.names == ("shapes/other",)  # a name like any other
    assert predictor.class_probs(predictor.encode(image, masks=quarters(image)), path).shape == (4, 3)
    with pytest.raises(ValueError, match="`stuff` is for category names only"):
        predictor(image, path, stuff="d")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"task": "boxes"}, "panoptic, semantic, instance"), ({"vocabulary": ""}, "vocabulary")],
)
def test_bad_arguments_are_refused_before_networks_run(predictor, image, monkeypatch, arguments, message):
    refuse_networks(predictor, monkeypatch)
    for call in (predictor, lambda image, **settings: predictor.batch([image], **settings)):
        with pytest.raises(ValueError, match=message):
            call(image, **{"vocabulary": "a", **arguments})


def test_a_single_image_is_no_batch(predictor, image):
    for one in (image, "image.png", Image.fromarray(image)):
        with pytest.raises(TypeError, match="single image; put it into a list"):
            predictor.batch(one, "a")
    for size, error in ((0, ValueError), (-1, ValueError), ("2", TypeError)):
        with pytest.raises(error, match=f"batch_size is {size!r}"):
            predictor.batch([image], "a", batch_size=size)


def test_what_is_not_encoded_is_refused(predictor, image):
    for call in (predictor.predict, predictor.class_probs):
        with pytest.raises(
            TypeError, match=r"encoded is of type ndarray; expected the result of Predictor.encode\(image\)"
        ):
            call(image, "a")


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (70, 1)])
@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_images_of_one_pixel(predictor, size, task):
    image = random_pixels(*size)
    for masks in (None, np.ones((1, *size), dtype=bool)):
        assert predictor(image, "a,b", task=task, masks=masks).label_map().shape == size


@pytest.mark.parametrize("number", [1, 2000])
def test_vocabularies_of_any_size(predictor, image, number):
    encoded = predictor.encode(image)
    names = [f"thing {index}" for index in range(number)]
    assert predictor.class_probs(encoded, names).shape == (len(encoded), number)
    assert predictor.predict(encoded, names, task="semantic").segments


def test_threads_share_a_predictor(predictor, image):
    """More vocabularies than the text classifier keeps, so that threads drop each other's embeddings."""
    encoded = predictor.encode(image)
    names = [f"name {index},other" for index in range(40)]
    expected = [predictor.predict(encoded, one).to_dict() for one in names]
    for _ in range(2):
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(lambda one: predictor.predict(encoded, one).to_dict(), names)) == expected


def test_old_names_are_refused_with_the_new_ones(predictor, image):
    encoded = predictor.encode(image)
    for call in (lambda: predictor(image, vocab="a"), lambda: predictor.predict(encoded, vocab="a")):
        with pytest.raises(TypeError, match="'vocab' is now called 'vocabulary'"):
            call()
    with pytest.raises(AttributeError, match=r"it is now encode\(image, masks=...\)"):
        predictor.encode_masks(image, quarters(image))
    with pytest.raises(AttributeError, match="it is now class_probs"):
        predictor.classify(encoded.mask_embeddings, "a")
    with pytest.raises(AttributeError, match="no attribute 'other'.$"):
        predictor.other  # noqa: B018


def test_an_encoded_image_needs_its_pixels(predictor, image):
    encoded = predictor.encode(image)
    without = EncodedImage(encoded.mask_embeddings, encoded.proposals, encoded.output_hw)
    with pytest.raises(ValueError, match="Predictor.encode"):
        predictor.predict(without, "a")


def test_models_without_categories_predict_nothing(make_predictor, image):
    predictor = make_predictor(meta_architecture="MaskProposer")
    calls = (
        lambda: predictor(image, "a"),
        lambda: predictor.encode(image),
        lambda: predictor.batch([image], "a"),
        lambda: predictor.class_probs(None, "a"),
    )
    for call in calls:
        with pytest.raises(ValueError, match="'MaskProposer', which has no class_log_probs, .*OpenVocabularySeg"):
            call()


def test_a_copy_predicts_the_same(predictor, image):
    expected = predictor(image, "a,b").to_dict()
    for same in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        assert same(image, "a,b").to_dict() == expected


@pytest.fixture
def proposer_registry():
    """Entries that a test registers are removed after it."""
    before = dict(PROPOSER_REGISTRY._obj_map)
    yield PROPOSER_REGISTRY
    PROPOSER_REGISTRY._obj_map.clear()
    PROPOSER_REGISTRY._obj_map.update(before)


def test_code_of_the_user_is_imported_first(make_predictor, image, tmp_path, proposer_registry):
    (tmp_path / "my_proposer.py").write_text(
        "import torch\n"
        "from masqclip_d2 import MaskProposals\n"
        "from masqclip_d2.proposer import PROPOSER_REGISTRY, Proposer\n\n"
        "@PROPOSER_REGISTRY.register()\n"
        "class WholeImage(Proposer):\n"
        "    def __init__(self, cfg):\n"
        "        super().__init__()\n\n"
        "    def propose(self, batched_inputs):\n"
        "        sizes = [record['image'].shape[-2:] for record in batched_inputs]\n"
        "        return [MaskProposals.from_binary_masks(torch.ones(1, *hw, dtype=torch.bool)) for hw in sizes]\n"
    )
    imports = [tmp_path / "my_proposer.py"]
    predictor = make_predictor("MODEL.MASQCLIP.PROPOSER.SOURCE", "WholeImage", imports=imports)
    assert "WholeImage" in proposer_registry
    [segment] = predictor(image, "a").segments
    assert segment.mask.all()
