import copy
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from masqclip_d2.vocabulary import TextClassifier, Vocabulary, class_logits
from masqclip_d2.vocabulary.prompts import TEMPLATES

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture
def vocabulary():
    return Vocabulary.from_names("cat|kitten,dog,sofa|couch|settee")


def test_ensemble_first_is_the_bare_name(text_encoder, vocabulary):
    result = TextClassifier(text_encoder, 100.0).text_embeddings(vocabulary)
    expected = F.normalize(text_encoder.encode(["cat", "dog", "sofa"]), dim=-1)
    torch.testing.assert_close(result, expected, **CLOSE)


def test_ensemble_mean_averages_synonyms_before_normalizing(text_encoder, vocabulary):
    result = TextClassifier(text_encoder, 100.0, ensemble="mean").text_embeddings(vocabulary)
    sofas = text_encoder.encode(["sofa", "couch", "settee"])
    torch.testing.assert_close(result[2], F.normalize(sofas.mean(dim=0), dim=0), **CLOSE)
    assert (result[2] - F.normalize(F.normalize(sofas, dim=1).mean(dim=0), dim=0)).abs().max() > 1e-5
    torch.testing.assert_close(result[1], F.normalize(text_encoder.encode(["dog"])[0], dim=0), **CLOSE)


def test_templates_average_unit_vectors(text_encoder, monkeypatch):
    monkeypatch.setitem(TEMPLATES, "two", ("one {}.", "{article} {}"))
    classifier = TextClassifier(text_encoder, 100.0, templates="two")
    result = classifier.text_embeddings(Vocabulary.from_names("owl,cat"))
    owls = F.normalize(text_encoder.encode(["one owl.", "an owl"]), dim=1)
    cats = F.normalize(text_encoder.encode(["one cat.", "a cat"]), dim=1)
    expected = F.normalize(torch.stack([owls.mean(dim=0), cats.mean(dim=0)]), dim=1)
    torch.testing.assert_close(result, expected, **CLOSE)


class HandWrittenTower(nn.Module):
    """A `TextTower` whose embeddings are written down by hand; other texts are errors."""

    output_dim = 3
    VECTORS = {
        "cat": (1.0, 0.0, 0.0),
        "kitten": (0.0, 2.0, 0.0),
        "dog": (0.6, 0.0, 0.8),
        "shadow": (0.0, 0.6, 0.8),
        "other": (0.0, 0.0, 3.0),
        "a cat": (2.0, 0.0, 0.0),
        "the cat": (0.0, 0.0, 1.0),
        "a kitten": (0.0, 1.0, 0.0),
        "the kitten": (0.0, 4.0, 0.0),
    }

    def encode(self, texts):
        return torch.tensor([self.VECTORS[text] for text in texts])

    def content_digest(self):
        return "hand-written"


# Its cosine similarities to cat, kitten, dog, shadow, other: 0.6, 0.8, 0.36, 0.48, 0
EMBEDDING = torch.tensor([[3.0, 4.0, 0.0]])


@pytest.mark.parametrize(
    ("ensemble", "cat"), [("first", 0.6), ("max", 0.8), ("mean", (0.6 * 0.5 + 0.8 * 1.0) / 1.25**0.5)]
)
def test_logits_of_each_ensemble_by_hand(ensemble, cat):
    """Mean of (1, 0, 0) and (0, 2, 0): (0.5, 1, 0), of length sqrt(1.25)."""
    classifier = TextClassifier(HandWrittenTower(), 10.0, ensemble=ensemble)
    vocabulary = Vocabulary(("cat", "dog"), (True, True), (("cat", "kitten"), ("dog",)), background_prompts=("shadow",))
    logits = classifier.class_logits(EMBEDDING, vocabulary, "other")
    torch.testing.assert_close(logits, torch.tensor([[10 * cat, 3.6, 4.8, 0.0]]))
    assert classifier.class_logits(EMBEDDING, vocabulary).shape == (1, 3)


def test_max_has_a_row_per_synonym_and_background_prompts_and_extra_class_are_last():
    vocabulary = Vocabulary(("cat", "dog"), (True, True), (("cat", "kitten"), ("dog",)), background_prompts=("shadow",))
    rows = TextClassifier(HandWrittenTower(), 1.0, ensemble="max").text_embeddings(vocabulary, "other")
    expected = [(1, 0, 0), (0, 1, 0), (0.6, 0, 0.8), (0, 0.6, 0.8), (0, 0, 1)]
    torch.testing.assert_close(rows, torch.tensor(expected))


def test_max_averages_the_templates_of_each_synonym(monkeypatch):
    monkeypatch.setitem(TEMPLATES, "two", ("a {}", "the {}"))
    classifier = TextClassifier(HandWrittenTower(), 1.0, templates="two", ensemble="max")
    rows = classifier.text_embeddings(Vocabulary.from_names("cat|kitten"))
    half = 0.5**0.5  # mean of the unit vectors (1, 0, 0) and (0, 0, 1), normalized
    torch.testing.assert_close(rows, torch.tensor([[half, 0.0, half], [0.0, 1.0, 0.0]]))
    logits = classifier.class_logits(EMBEDDING, Vocabulary.from_names("cat|kitten"))
    torch.testing.assert_close(logits, torch.tensor([[0.8]]))


def test_gradient_of_max_goes_to_the_best_synonym():
    embedding = torch.tensor([[0.6, 0.8, 0.0]], requires_grad=True)
    classifier = TextClassifier(HandWrittenTower(), 1.0, ensemble="max")
    classifier.class_logits(embedding, Vocabulary.from_names("cat|kitten")).sum().backward()
    best = torch.tensor([[0.0, 1.0, 0.0]])
    torch.testing.assert_close(embedding.grad, best - 0.8 * embedding.detach())  # of a cosine


def test_max_with_any_shape_and_no_masks(text_encoder, vocabulary):
    classifier = TextClassifier(text_encoder, 1.0, ensemble="max")
    embeddings = torch.randn(2, 5, 24)
    logits = classifier.class_logits(embeddings, vocabulary)
    assert logits.shape == (2, 5, 3)
    torch.testing.assert_close(logits[1, 3:4], classifier.class_logits(embeddings[1, 3:4], vocabulary), **CLOSE)
    assert classifier.class_logits(torch.zeros(0, 24), vocabulary, "other").shape == (0, 4)


def test_templates_and_ensemble_of_a_vocabulary_override_the_model(text_encoder):
    plain = Vocabulary.from_names("cat|kitten,dog")
    with_its_own = replace(plain, templates=("a {}", "the {}"), ensemble="mean")
    by_vocabulary = TextClassifier(text_encoder, 1.0, templates="single", ensemble="max").text_embeddings(with_its_own)
    texts = [["a cat", "the cat", "a kitten", "the kitten"], ["a dog", "the dog"]]
    means = [F.normalize(text_encoder.encode(some), dim=1).mean(dim=0) for some in texts]
    torch.testing.assert_close(by_vocabulary, F.normalize(torch.stack(means), dim=1), **CLOSE)
    bare = TextClassifier(text_encoder, 1.0, templates="single").text_embeddings(replace(plain, templates="{}"))
    torch.testing.assert_close(bare, TextClassifier(text_encoder, 1.0).text_embeddings(plain), **CLOSE)


def test_extra_class_comes_last(text_encoder, vocabulary):
    classifier = TextClassifier(text_encoder, 100.0)
    result = classifier.text_embeddings(vocabulary, extra_class="background")
    assert result.shape == (4, 24)
    torch.testing.assert_close(result[:3], classifier.text_embeddings(vocabulary), **CLOSE)
    torch.testing.assert_close(result[3], F.normalize(text_encoder.encode(["background"])[0], dim=0), **CLOSE)


def test_equal_content_is_embedded_once_and_new_weights_again(text_encoder, vocabulary, monkeypatch):
    calls = []
    encode = text_encoder.encode
    monkeypatch.setattr(text_encoder, "encode", lambda texts: calls.append(len(texts)) or encode(texts))
    classifier = TextClassifier(text_encoder, 100.0)
    first = classifier.text_embeddings(vocabulary)
    same = Vocabulary.from_names("cat,dog,sofa", stuff="dog")  # the same texts
    assert classifier.text_embeddings(same) is first and calls == [3]
    classifier.text_embeddings(vocabulary, extra_class="other")
    assert calls == [3, 4]
    with torch.no_grad():
        text_encoder.ln_final.bias.add_(0.5)
    changed = classifier.text_embeddings(vocabulary)
    assert calls == [3, 4, 3] and (changed - first).abs().max() > 1e-3


def test_embeddings_made_in_inference_mode_can_be_used_in_training(text_encoder, vocabulary):
    classifier = TextClassifier(text_encoder, 100.0)
    with torch.inference_mode():
        classifier.text_embeddings(vocabulary)
    embeddings = torch.randn(5, 24, requires_grad=True)
    classifier.class_logits(embeddings, vocabulary).sum().backward()
    assert torch.isfinite(embeddings.grad).all()


def test_class_logits_by_hand():
    text_embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    logits = class_logits(torch.tensor([[[0.0, 3.0], [5.0, 0.0]]]), text_embeddings, 100.0)
    torch.testing.assert_close(logits, torch.tensor([[[0.0, 80.0], [100.0, 60.0]]]))


def test_logit_scale_is_saved_with_the_model(text_encoder):
    classifier = TextClassifier(text_encoder, torch.tensor(7.0))
    vocabulary = Vocabulary.from_names("cat,dog,sofa")
    logits = classifier.class_logits(classifier.text_embeddings(vocabulary), vocabulary)
    torch.testing.assert_close(logits.diagonal(), torch.full((3,), 7.0))
    assert classifier.state_dict()["logit_scale"] == 7.0


def test_large_vocabulary_and_a_single_name(text_encoder):
    classifier = TextClassifier(text_encoder, 100.0)
    many = classifier.text_embeddings(Vocabulary.from_names([f"word {index}" for index in range(300)]))
    one = classifier.text_embeddings(Vocabulary.from_names("word 299"))
    assert one.shape == (1, 24)
    torch.testing.assert_close(many[299:], one, **CLOSE)


def test_too_long_prompt_is_reported(text_encoder):
    with pytest.raises(ValueError, match="The text 'supercali"):
        TextClassifier(text_encoder, 1.0).text_embeddings(Vocabulary.from_names("supercalifragilisticexpialidocious"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"templates": "vild"}, "No prompt templates named 'vild'; known: name, single, .*vild_63"),
        ({"templates": "vild14"}, "Did you mean 'vild_14'"),
        ({"ensemble": "median"}, "ensemble must be one of first, mean, max; got 'median'"),
    ],
)
def test_bad_arguments(text_encoder, arguments, message):
    with pytest.raises(ValueError, match=message):
        TextClassifier(text_encoder, 100.0, **arguments)


def test_template_sets():
    sizes = {name: len(templates) for name, templates in TEMPLATES.items()}
    assert sizes == {
        "name": 1,
        "single": 1,
        "single_article": 1,
        "vild_14": 14,
        "vild_63": 63,
        "clip_imagenet_80": 80,
        "clip_imagenet_7": 7,
    }
    assert all(template.count("{}") == 1 for templates in TEMPLATES.values() for template in templates)
    assert set(TEMPLATES["clip_imagenet_7"]) < set(TEMPLATES["clip_imagenet_80"])


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_embed_with_their_own_weights(text_encoder, vocabulary, make_copy):
    classifier = TextClassifier(text_encoder, 100.0)
    before = classifier.text_embeddings(vocabulary)
    duplicate = make_copy(classifier)
    assert not duplicate._cache and classifier._cache
    torch.testing.assert_close(duplicate.text_embeddings(vocabulary), before)
    with torch.no_grad():
        duplicate.text_encoder.text_projection.neg_()
    torch.testing.assert_close(duplicate.text_embeddings(vocabulary), -before)
    assert torch.equal(classifier.text_embeddings(vocabulary), before)
