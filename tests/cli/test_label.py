"""The verb `label`: what it passes on, and what it refuses. The run itself: tests/labelling."""

import pytest
from PIL import Image

from masqclip_d2.cli.label import main
from masqclip_d2.labelling import run


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.setattr("masqclip_d2.optional_packages.importlib.util.find_spec", lambda name: name)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return ["--input", str(tmp_path / "a.png"), "--output", str(tmp_path / "out"), "--vocab", "cat"]


def refusal(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code, capsys.readouterr().err


def test_options_reach_the_run(words, tmp_path, monkeypatch):
    found = {}
    monkeypatch.setattr(run, "label_images", lambda *arguments: found.update(enumerate(arguments)))
    (tmp_path / "mine.py").touch()
    monkeypatch.chdir(tmp_path)
    words += ["--save", "coco,labels", "--workers", "3", "--shard-size", "7", "--batch-size", "2", "--task", "instance"]
    main([*words, "--import", "mine.py", "--weights", "elsewhere.pth", "--no-background-prompts"])
    load, job, images, recorded, workers, shard_size = found.values()
    assert (job.formats, job.batch_size, job.task, workers, shard_size) == (("coco", "labels"), 2, "instance", 3, 7)
    assert job.settings == {"unknown_threshold": None, "background_prompts": ()}
    assert [image.name for image in images] == ["a.png"] and recorded["task"] == "instance"
    [args] = load.args  # workers may have another working directory
    assert args.imports == [str(tmp_path / "mine.py")] and args.weights == "elsewhere.pth"


def test_a_missing_extra_is_one_sentence(words, capsys, monkeypatch):
    monkeypatch.setattr("masqclip_d2.optional_packages.importlib.util.find_spec", lambda name: None)
    code, error = refusal(capsys, *words)
    assert code == 1 and error == (
        "error: masqclip label needs the packages ray, pyarrow: pip install 'masqclip_d2[scale]'.\n"
    )


def test_what_cannot_work_is_refused_before_ray_starts(words, tmp_path, capsys):
    assert "--output s3://b/out is a URL; pass a folder" in refusal(capsys, *words, "--output", "s3://b/out")[1]
    assert "There is no format 'png'" in refusal(capsys, *words, "--save", "png")[1]
    assert "no-such does not exist" in refusal(capsys, *words, "--input", tmp_path / "no-such.txt")[1].replace(
        ".txt", ""
    )
    assert refusal(capsys, *words, "--workers", "0")[0] == 2
    assert not (tmp_path / "out").exists()
