import logging
import os
import zlib
from pathlib import Path

import pytest
import torch
from torch import nn

from masqclip_d2.vocabulary import TextClassifier, Vocabulary, text_cache, text_cache_dir, with_background_prompts
from masqclip_d2.vocabulary.background import background_pool

MANY = Vocabulary.from_names([f"word {index}|thing {index}" for index in range(text_cache.LEAST_TEXTS)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tower(text_encoder, monkeypatch):
    """A frozen text encoder that counts the texts it embeds in `tower.embedded`."""
    text_encoder.requires_grad_(False).embedded = []
    encode = text_encoder.encode
    monkeypatch.setattr(text_encoder, "encode", lambda texts: text_encoder.embedded.append(len(texts)) or encode(texts))
    return text_encoder


def start(tower, vocabulary=MANY, **arguments):
    """The text embeddings of a model that was just made."""
    return TextClassifier(tower, 100.0, **arguments).text_embeddings(vocabulary)


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_second_start_embeds_nothing_and_has_the_same_values(tower, folder):
    first = start(tower)
    assert tower.embedded == [len(MANY)] and len(files(folder)) == 1
    assert torch.equal(start(tower), first) and tower.embedded == [len(MANY)]


def test_embeddings_from_disk_can_be_used_in_training(tower, folder):
    start(tower)
    classifier = TextClassifier(tower, 100.0)
    with torch.inference_mode():
        classifier.text_embeddings(MANY)
    embeddings = torch.randn(2, 24, requires_grad=True)
    classifier.class_logits(embeddings, MANY).sum().backward()
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda tower: {"vocabulary": Vocabulary.from_names([*MANY.names[1:], "another"])},
        lambda tower: {"vocabulary": Vocabulary.from_names([*MANY.names[1:], MANY.names[0]])},
        lambda tower: {"templates": "single"},
        lambda tower: {"ensemble": "mean"},
        lambda tower: {"ensemble": "max"},
        lambda tower: tower.load_state_dict({"ln_final.bias": torch.ones(32)}, strict=False) and {},
        lambda tower: setattr(tower, "activation", "gelu") or {},
        lambda tower: setattr(tower, "heads", 4) or {},
    ],
    ids=["other name", "other order", "templates", "mean", "max", "weights", "activation", "heads"],
)
def test_other_content_is_another_file(tower, folder, change):
    start(tower)
    start(tower, **change(tower))
    assert len(tower.embedded) == 2 and len(files(folder)) == 2


def test_the_weights_are_hashed_once(tower, folder, monkeypatch):
    calls = []
    digest = tower.content_digest
    monkeypatch.setattr(tower, "content_digest", lambda: calls.append(1) or digest())
    classifier = TextClassifier(tower, 100.0)
    classifier.text_embeddings(MANY)
    classifier.text_embeddings(MANY, "other")
    assert calls == [1] and len(files(folder)) == 2
    tower.ln_final.bias.add_(0.5)
    classifier.text_embeddings(MANY)
    assert calls == [1, 1] and len(files(folder)) == 3


def test_trained_towers_and_small_vocabularies_are_not_cached(tower, folder):
    start(tower, Vocabulary.from_names("cat,dog"))
    tower.ln_final.bias.requires_grad_(True)
    start(tower)
    assert files(folder) == []


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-7] ^= 0x40
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage",
    [_truncate, _flip, lambda path: path.write_bytes(b""), lambda path: path.write_text("no embeddings")],
    ids=["truncated", "a flipped bit", "empty", "another file"],
)
def test_a_damaged_file_is_replaced_with_a_warning(tower, folder, damage, caplog):
    first = start(tower)
    (path,) = folder.iterdir()
    damage(path)
    assert torch.equal(start(tower), first) and len(tower.embedded) == 2
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"Text cache file {path} is damaged" in warning
    start(tower)
    assert len(tower.embedded) == 2


def test_a_folder_that_is_not_writable_is_a_warning(tower, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", str(tmp_path / "file" / "cache"))
    assert torch.isfinite(start(tower)).all()
    assert "cannot be cached" in caplog.text and "MASQCLIP_TEXT_CACHE" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_a_warning(tower, folder, caplog):
    folder.mkdir(mode=0o500)
    assert torch.isfinite(start(tower)).all() and "cannot be cached" in caplog.text


def test_the_cache_can_be_switched_off(tower, tmp_path, monkeypatch):
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", "off")
    monkeypatch.setattr(tower, "content_digest", lambda: pytest.fail("the cache is off"))
    monkeypatch.chdir(tmp_path)
    start(tower)
    assert text_cache_dir() is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/home/me/.cache/masqclip_d2/text"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/masqclip_d2/text"),
        ({"XDG_CACHE_HOME": "/xdg", "MASQCLIP_CACHE": "~/clips"}, "/home/me/clips/text"),
        ({"MASQCLIP_TEXT_CACHE": "/mine", "MASQCLIP_CACHE": "/clips"}, "/mine"),
    ],
)
def test_cache_folder(monkeypatch, environment, expected):
    for name in ("MASQCLIP_TEXT_CACHE", "MASQCLIP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert text_cache_dir() == Path(expected)


def test_tests_do_not_use_the_users_cache():
    assert not text_cache_dir().is_relative_to(Path.home())


class CountingTower(nn.Module):
    """A `TextTower` for texts of any length; counts them in `embedded`."""

    output_dim = 24

    def __init__(self):
        super().__init__()
        self.embedded = []

    def encode(self, texts):
        self.embedded.append(len(texts))
        rows = [torch.randn(24, generator=torch.Generator().manual_seed(zlib.crc32(text.encode()))) for text in texts]
        return torch.stack(rows)

    def content_digest(self):
        return "counting"


def test_background_prompts_of_the_pool_are_embedded_once_for_all_categories(folder):
    """With one template, whatever that of the categories is; the categories do not change their file."""
    tower = CountingTower()
    two, other = (with_background_prompts(Vocabulary.from_names(names), "coco_lvis") for names in ("dog,ball", "sofa"))
    pool = len(background_pool("coco_lvis"))
    options = {"templates": "vild_14", "background_templates": "single"}
    first = TextClassifier(tower, 100.0, **options)
    rows = first.text_embeddings(two, "other")
    assert tower.embedded == [3 * 14, pool] and len(files(folder)) == 1  # few texts of categories are not cached
    first.text_embeddings(other)
    assert tower.embedded == [3 * 14, pool, 14]
    again = start(tower, two, **options)
    assert tower.embedded == [3 * 14, pool, 14, 2 * 14] and torch.equal(again[2:], rows[2:-1])
    some = [0, 7, len(two.background_prompts) - 1]
    plain = Vocabulary.from_names([f"a photo of a {two.background_prompts[index]}." for index in some])
    expected = TextClassifier(tower, 100.0, ensemble="mean").text_embeddings(plain)
    torch.testing.assert_close(rows[2:-1][some], expected)
    assert len(rows) == 2 + len(two.background_prompts) + 1


def test_background_prompts_have_the_templates_of_the_categories_by_default(tower):
    vocabulary = Vocabulary(("dog",), (True,), background_prompts=("a wall",))
    plain = Vocabulary.from_names("dog,a wall")
    for templates in ("single", "name"):
        own = TextClassifier(tower, 100.0, templates=templates)
        torch.testing.assert_close(own.text_embeddings(vocabulary), own.text_embeddings(plain))
    with pytest.raises(ValueError, match="No prompt templates named 'singel'.*Did you mean"):
        TextClassifier(tower, 100.0, background_templates="singel")


def test_there_is_no_cache_without_a_home(monkeypatch):
    def missing(self):
        raise RuntimeError("Could not determine home directory.")

    for name in ("MASQCLIP_TEXT_CACHE", "MASQCLIP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.expanduser", missing)
    assert text_cache.text_cache_dir() is None
