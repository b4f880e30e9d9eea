"""Configuration files: found by path or shipped name, merged with the files that they are based on."""

import pytest

from masqclip_d2.config_files import config_dir, config_files, find_config, read_config


def write(path, text):
    path.write_text(text)
    return path


def test_shipped_names_have_several_forms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = config_dir() / "shapes" / "teacher.yaml"
    assert find_config("shapes/teacher") == find_config("configs/shapes/teacher.yaml") == find_config(path) == path


def test_an_unknown_name_is_refused_with_those_like_it():
    with pytest.raises(FileNotFoundError, match="Did you mean shapes/teacher"):
        find_config("shapes/teecher")


def test_an_unknown_name_like_no_other_is_refused_with_all():
    with pytest.raises(FileNotFoundError, match="Shipped: .*shapes/teacher"):
        find_config("xyz")


def test_bases_are_relative_to_their_file_or_shipped(tmp_path):
    (tmp_path / "bases").mkdir()
    base = write(tmp_path / "bases" / "base.yaml", "_BASE_: shapes/teacher\nSOLVER: {MAX_ITER: 5, BASE_LR: 1.0}\n")
    child = write(tmp_path / "child.yaml", "_BASE_: bases/base.yaml\nSOLVER: {MAX_ITER: 6}\n")
    files = config_files(child)
    assert files[-2:] == [base, child] and find_config("shapes/teacher") in files
    settings = read_config(child)
    assert settings["SOLVER"]["MAX_ITER"] == 6 and settings["SOLVER"]["BASE_LR"] == 1.0
    assert settings["MODEL"]["META_ARCHITECTURE"] == "MaskProposer" and "_BASE_" not in settings


def test_of_several_bases_the_last_wins(tmp_path):
    write(tmp_path / "a.yaml", "SEED: 1\nOUTPUT_DIR: a\n")
    write(tmp_path / "b.yaml", "SEED: 2\n")
    assert read_config(write(tmp_path / "c.yaml", "_BASE_: [a.yaml, b.yaml]\n")) == {"SEED": 2, "OUTPUT_DIR": "a"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("- 1\n", "holds a list"),
        ("a: [1\n", "cannot be read: line 2, column 1: expected"),
        ("_BASE_: other.yaml\n", "based on itself"),
        (f"_BASE_: {'x' * 5000}\n", "_BASE_ of .* has 5000 characters"),
        ("MODEL: {yes: 1}\n", "has the key True, which is no text"),
        ("5: 1\n", "has the key 5, which is no text"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, message):
    write(tmp_path / "other.yaml", "_BASE_: bad.yaml\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_config(write(tmp_path / "bad.yaml", text))
    assert "bad.yaml" in str(caught.value)


@pytest.mark.parametrize("base", ["shapes/teecher", "null", "5", "/dev/zero"])
def test_a_missing_base_is_refused(tmp_path, base):
    with pytest.raises(FileNotFoundError, match=r"_BASE_ of .*mine.yaml: Config .* is neither a file nor a shipped"):
        read_config(write(tmp_path / "mine.yaml", f"_BASE_: {base}\n"))


def test_a_base_of_several_files_is_read_once(tmp_path):
    write(tmp_path / "0.yaml", "SEED: 1\nOUTPUT_DIR: a\n")
    for number in range(1, 40):  # 2 ** 39 files, if each were read as often as it is named
        write(tmp_path / f"{number}.yaml", f"_BASE_: [{number - 1}.yaml, {number - 1}.yaml]\nSEED: {number}\n")
    last = tmp_path / "39.yaml"
    assert [file.stem for file in config_files(last)] == [str(number) for number in range(40)]
    assert read_config(last) == {"SEED": 39, "OUTPUT_DIR": "a"}
