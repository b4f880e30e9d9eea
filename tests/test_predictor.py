"""The Python API: an image and words in, segments out; your own masks in, word probabilities out."""

import numpy as np
import pytest
import torch
from PIL import Image

from masqclip_d2 import Predictor, Vocabulary, load_vocabulary, save_vocabulary
from masqclip_d2.segmentation import Segment, Segmentation, category_colors
from tests.helpers import TINY_PROPOSER, tiny_clip_file


@pytest.fixture
def predictor(tmp_path):
    opts = [*TINY_PROPOSER, "MODEL.META_ARCHITECTURE", "MaskCLIP", "MODEL.MASQCLIP.CLIP.NAME", ""]
    opts += ["MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path))]
    opts += ["MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0"]
    return Predictor("base/shapes", opts=opts)


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (33, 47, 3), dtype=np.uint8)


def test_answer_covers_the_image(predictor, image):
    answer = predictor(image, "a,b", stuff="c")
    assert answer.image is image and answer.task == "panoptic"
    labels = answer.label_map()
    assert labels.shape == (33, 47)
    for segment in answer.segments:
        assert segment.mask.shape == (33, 47) and (labels[segment.mask] == segment.category_id).all()
        assert segment.area == segment.mask.sum()


def test_panoptic_and_semantic_answers_agree_with_the_model(predictor, image):
    vocabulary = Vocabulary.from_names("a,b,c")
    semantic = predictor(image, vocabulary, task="semantic")
    predictor.model.set_vocabulary(vocabulary)
    record = {"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}
    answer = predictor.model([record])[0]
    assert np.array_equal(semantic.label_map(), answer["sem_seg_labels"].numpy())
    confidence = answer["sem_seg_confidence"].numpy()
    for segment in semantic.segments:
        assert segment.score == pytest.approx(min(1.0, confidence[segment.mask].mean()))


def test_pixels_that_no_word_fits_belong_to_no_segment(predictor, image, monkeypatch):
    scores = torch.zeros(33, 47)
    scores[:, 10:] = 0.5
    answers = {"sem_seg_labels": torch.zeros(33, 47, dtype=torch.int64), "sem_seg_confidence": scores}
    monkeypatch.setattr(predictor.model, "predict", lambda *args: answers)
    [segment] = predictor(image, "a,b", task="semantic").segments
    assert segment.label == "a" and segment.score == 0.5
    assert np.array_equal(segment.mask, scores.numpy() > 0)


def test_own_masks_are_encoded_and_classified(predictor, image):
    masks = np.zeros((3, 33, 47), dtype=bool)
    masks[0, :10], masks[1, :, 20:] = True, True
    embeddings = predictor.encode_masks(image, masks)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    probabilities = predictor.classify(embeddings, "a,b,c,d")
    assert probabilities.shape == (3, 4)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))


def test_masks_of_another_size_are_refused(predictor, image):
    with pytest.raises(ValueError, match=r"\(Q, 33, 47\)"):
        predictor.encode_masks(image, np.zeros((1, 10, 10), dtype=bool))


def test_files_pil_images_and_arrays_are_the_same(predictor, image, tmp_path):
    picture = Image.fromarray(image)
    picture.save(tmp_path / "image.png")
    given = (picture, picture.convert("RGBA"), str(tmp_path / "image.png"), tmp_path / "image.png")
    expected = predictor(image, "a,b").to_dict()
    for one in given:
        assert predictor(one, "a,b").to_dict() == expected
    masks = np.ones((1, *image.shape[:2]), dtype=bool)
    assert torch.equal(predictor.encode_masks(picture, masks), predictor.encode_masks(image, masks))


def test_what_is_no_image_is_refused(predictor, image):
    with pytest.raises(ValueError, match="a PIL image or an array, got a Tensor"):
        predictor(torch.from_numpy(image), "a")


@pytest.mark.parametrize("array", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_arrays_that_are_no_images_are_refused(predictor, array):
    with pytest.raises(ValueError, match="uint8 RGB"):
        predictor(array, "a")


def test_words_may_come_from_a_file_or_a_shipped_vocabulary(predictor, image, tmp_path):
    path = tmp_path / "words.json"
    save_vocabulary(Vocabulary.from_names("a|b,c", stuff="d"), path)
    for vocab in (path, str(path)):
        answer = predictor(image, vocab)
        assert answer.vocabulary == load_vocabulary(path)
    assert predictor(image, "shapes/masqclip").vocabulary == load_vocabulary("shapes/masqclip")
    assert predictor(image, "shapes/other").vocabulary.names == ("shapes/other",)  # a word like any other
    assert predictor.classify(torch.ones(2, 16), path).shape == (2, 3)
    with pytest.raises(ValueError, match="`stuff` is for category names only"):
        predictor(image, path, stuff="d")


def test_pictures_have_the_colors_of_the_vocabulary(image):
    words = Vocabulary(("a", "b"), (False, False), colors=(None, (255, 0, 0)))
    chosen = category_colors(2, words.colors)
    assert chosen[0] == category_colors(2)[0] and chosen[1] == (1.0, 0.0, 0.0)
    black = np.zeros((480, 480, 3), dtype=np.uint8)
    whole = Segment("b", 1, False, 1.0, np.ones((480, 480), dtype=bool))
    picture = Segmentation(black, words, "semantic", [whole]).draw()
    red, green, blue = picture.reshape(-1, 3).mean(axis=0)  # the word is written in the middle
    assert red > 60 and green < 20 and blue < 20


def test_unknown_task_is_refused(predictor, image):
    with pytest.raises(ValueError, match="panoptic, instance, semantic"):
        predictor(image, "a", task="boxes")


def test_no_segments_still_make_a_picture(predictor, image):
    answer = predictor(image, "a", confidence_threshold=2.0)
    assert answer.segments == [] and min(answer.draw().shape[:2]) >= 480
