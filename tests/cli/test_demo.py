"""masqclip demo: visualizations and JSON for any images and category names; a bad file does not stop the others."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from masqclip_d2.cli.demo import main
from masqclip_d2.engine.output_lock import output_lock
from tests.helpers import TINY_PROPOSER, tiny_clip_file
from tests.video.helpers import make_video, read_video

VOCAB = ["--vocab", "striped circle,dotted star", "--stuff", "grass"]


@pytest.fixture
def tiny(tmp_path):
    """Options of a tiny model without weights."""
    opts = [*TINY_PROPOSER, "MODEL.META_ARCHITECTURE", "MaskCLIP", "MODEL.MASQCLIP.CLIP.NAME", ""]
    opts += ["MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path))]
    opts += ["MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0"]
    return ["--config-file", "base/shapes", "--output", str(tmp_path / "out")], ["--opts", *opts]


def _image(path, mode="RGB", size=(40, 30)):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path)
    return path


def _run(tiny, *options):
    head, tail = tiny
    main([*VOCAB, *head, *map(str, options), *tail])


def test_writes_a_visualization_and_json_for_each_input(tiny, tmp_path, capsys):
    _image(tmp_path / "a.png")
    _image(tmp_path / "b.jpg", mode="L")
    _run(tiny, "--input", tmp_path / "a.png", tmp_path / "b.jpg")
    for name in ("a", "b"):
        drawn = np.asarray(Image.open(tmp_path / "out" / f"{name}.png"))
        assert min(drawn.shape[:2]) >= 480 and drawn.std() > 0  # enlarged, so that labels can be read
        content = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert (content["height"], content["width"]) == (30, 40)
        assert content["vocabulary"] == ["striped circle", "dotted star", "grass"]
        covered = np.zeros((30, 40), dtype=int)
        for segment in content["segments"]:
            mask = coco_mask.decode(segment["rle"])
            ys, xs = np.nonzero(mask)
            assert segment["area"] == mask.sum() > 0
            assert segment["box"] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert segment["label"] in content["vocabulary"] and 0 <= segment["score"] <= 1
            assert segment["isthing"] == (segment["label"] != "grass")
            covered += mask
        assert content["segments"] and covered.max() == 1  # panoptic: no overlap
        assert str(tmp_path / "out" / f"{name}.png") in capsys.readouterr().out or name == "b"


@pytest.mark.parametrize("task", ["instance", "semantic"])
def test_other_tasks(tiny, tmp_path, task):
    _image(tmp_path / "a.png")
    _run(tiny, "--input", tmp_path / "a.png", "--task", task)
    assert json.loads((tmp_path / "out" / "a.json").read_text())["task"] == task


def test_confidence_threshold_cuts_scores(tiny, tmp_path):
    _image(tmp_path / "a.png")
    _run(tiny, "--input", tmp_path / "a.png", "--confidence-threshold", "1")
    assert json.loads((tmp_path / "out" / "a.json").read_text())["segments"] == []


def test_bad_files_are_named_and_the_others_are_done(tiny, tmp_path, capsys):
    _image(tmp_path / "good.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(SystemExit) as stopped:
        _run(tiny, "--input", *(tmp_path / name for name in ("empty.png", "good.png", "text.jpg", "missing.png")))
    errors = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 1
    assert [any(name in line for line in errors) for name in ("empty.png", "text.jpg", "missing.png")] == [True] * 3
    assert "3 of 4 images failed" in errors[-1]
    assert (tmp_path / "out" / "good.json").exists()


def test_a_category_that_is_too_long_is_refused_once(tiny, tmp_path, capsys):
    for name in "ab":
        _image(tmp_path / f"{name}.png")
    head, tail = tiny
    with pytest.raises(SystemExit):
        main(["--vocab", "circle " * 30, *head, "--input", str(tmp_path / "a.png"), str(tmp_path / "b.png"), *tail])
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("error: The text 'circle") and "context length of this CLIP is" in error


def test_no_image_at_all(tiny, tmp_path, capsys):
    (tmp_path / "empty.png").touch()
    with pytest.raises(SystemExit):
        _run(tiny, "--input", tmp_path / "empty.png")
    errors = capsys.readouterr().err.strip().splitlines()
    assert "empty.png" in errors[-2] and "No image was segmented" in errors[-1]


@pytest.mark.parametrize(
    ("vocab", "message"),
    [("", "empty"), ("cat,,dog", "blank"), ("cat,dog,Cat", "duplicate"), (" , ", "blank")],
)
def test_bad_names_stop_before_a_model_is_built(vocab, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--vocab", vocab, "--config-file", "shapes/no_such_config"])
    assert stopped.value.code == 1 and message in capsys.readouterr().err


def test_a_vocabulary_file_has_names_things_and_colors(tiny, tmp_path):
    file = tmp_path / "vocabulary.yaml"
    file.write_text(
        "categories: [striped circle, {name: grass, isthing: false, color: [255, 0, 0]}]\n"
        "templates: ['a {}', 'the {}']\nensemble: max\nbackground_prompts: [shadow]\n"
    )
    _image(tmp_path / "a.png")
    head, tail = tiny
    main(["--vocab-file", str(file), *head, "--input", str(tmp_path / "a.png"), "--task", "semantic", *tail])
    content = json.loads((tmp_path / "out" / "a.json").read_text())
    assert content["vocabulary"] == ["striped circle", "grass"]
    assert {s["label"]: s["isthing"] for s in content["segments"]}.items() <= {
        "striped circle": True,
        "grass": False,
    }.items()


def test_background_prompts_and_their_threshold(tiny, tmp_path):
    file = tmp_path / "vocabulary.yaml"
    file.write_text("categories: [striped circle]\nbackground_prompts: [shadow, wall]\n")
    _image(tmp_path / "a.png")
    head, tail = tiny
    rejected = {}
    for options in (["--unknown-threshold", "0.99"], ["--unknown-threshold", "0"], ["--no-background-prompts"]):
        given = ["--vocab-file", str(file), "--input", str(tmp_path / "a.png"), "--task", "semantic"]
        main([*given, *head, *options, *tail])
        rejected[options[-1]] = json.loads((tmp_path / "out" / "a.json").read_text())["rejected"]
    assert rejected["0"] == rejected["--no-background-prompts"] == []
    assert {region["prompt"] for region in rejected["0.99"]} <= {"shadow", "wall"}
    assert sum(region["area"] for region in rejected["0.99"]) == 30 * 40


def test_a_shipped_vocabulary(tiny, tmp_path):
    _image(tmp_path / "a.png")
    head, tail = tiny
    main(["--vocab-file", "shapes/maskclip", *head, "--input", str(tmp_path / "a.png"), *tail])
    assert len(json.loads((tmp_path / "out" / "a.json").read_text())["vocabulary"]) == 42


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--vocab-file", "missing.yaml"], 1, "error: There is no vocabulary file missing.yaml."),
        (["--vocab-file", "shapes/opensegg"], 1, "Did you mean 'shapes/openseg'?"),
        (["--vocab-file", "shapes/maskclip", "--stuff", "grass"], 1, "error: --stuff needs --vocab"),
        (["--vocab-file", "shapes/maskclip", "--vocab", "cat"], 2, "not allowed with argument"),
        ([], 2, "one of the arguments --vocab --vocab-file is required"),
        (["--vocab", "cat", "--unknown-threshold", "nan"], 2, "argument --unknown-threshold: nan is not in [0, 1]"),
        (["--vocab", "cat", "--confidence-threshold", "nan"], 2, "argument --confidence-threshold: nan is not in"),
        (["--vocab", "cat", "--confidence-threshold", "1.01"], 2, "argument --confidence-threshold: 1.01 is not in"),
        (["--vocab", "cat", "--unknown-threshold", "1.5"], 2, "argument --unknown-threshold: 1.5 is not in [0, 1]"),
        (["--vocab", "cat", "--save", "cocoo"], 1, "error: There is no format 'cocoo'; formats are overlay, labels,"),
        (["--vocab", "cat", "--output", "x.png", "--resume", "--input", __file__], 1, "--resume needs a folder"),
        (["--vocab", "cat", "--batch-size", "8"], 1, "error: --batch-size is for videos; pass --video-input, or leave"),
        (["--vocab", "cat", "--frame-rate", "5"], 1, "error: --frame-rate is for videos"),
        (["--vocab", "cat", "--input", "absent.jpg"], 1, "error: There is no image absent.jpg."),
        (["--vocab", "cat", "--output", "/proc/version/out"], 1, "error: The output folder /proc/version/out cannot"),
    ],
)
def test_bad_options_stop_before_a_model_is_built(options, code, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*options, "--config-file", "shapes/no_such_config"])
    assert stopped.value.code == code and message in capsys.readouterr().err


def test_a_tree_as_one_coco_file_and_resumed(tiny, tmp_path, capsys):
    for name in ("a.png", "trip/a.png", "trip/a.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        _image(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.jpg").write_text("text")
    options = ["--input", tmp_path / "in", "--recursive", "--save", "coco,labels,segments"]
    with pytest.raises(SystemExit) as stopped:
        _run(tiny, *options)
    assert stopped.value.code == 1 and "1 of 4 images failed" in capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["a.png", "trip/a.jpg", "trip/a.png"]
    assert (tmp_path / "out" / "trip" / "a_png_labels.png").is_file()
    assert (tmp_path / "out" / "trip" / "a_segments").is_dir()
    _image(tmp_path / "in" / "bad.jpg")
    _run(tiny, *options, "--resume")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 of 4 images have results already." and "bad_labels.png" in lines[1] and len(lines) == 3
    assert len(json.loads((tmp_path / "out" / "coco.json").read_text())["images"]) == 4
    with pytest.raises(SystemExit):
        _run(tiny, *options, "--resume", "--task", "instance")
    assert "made with other settings (task)" in capsys.readouterr().err


def test_two_runs_on_one_output_folder(tiny, tmp_path, capsys):
    image = _image(tmp_path / "a.png")
    with output_lock(tmp_path / "out", shared=True):
        _run(tiny, "--input", image)  # beside a run of other images
        for options in (["--resume"], ["--save", "coco"]):
            with pytest.raises(SystemExit):
                _run(tiny, "--input", image, *options)
            assert "out is in use by another run (process " in capsys.readouterr().err
    with output_lock(tmp_path / "out"), pytest.raises(SystemExit):
        _run(tiny, "--input", image)
    assert "choose another --output, or end that run." in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (12000, 100)])
def test_extreme_sizes(tiny, tmp_path, size):
    _image(tmp_path / "a.png", size=size)
    _run(tiny, "--input", tmp_path / "a.png", "--save", "labels,coco,panoptic,yolo")
    assert Image.open(tmp_path / "out" / "a_labels.png").size == size
    assert len(json.loads((tmp_path / "out" / "coco.json").read_text())["images"]) == 1


def test_a_video_has_the_frames_and_a_line_for_each(tiny, tmp_path):
    pytest.importorskip("av")
    source = make_video(tmp_path / "clip.mp4", 3)
    _run(tiny, "--video-input", source, "--save", "overlay,json", "--batch-size", "2")
    frames, _, _ = read_video(tmp_path / "out" / "clip.mp4")
    assert len(frames) == 3 and frames[0].shape == (48, 64, 3)
    head, *lines = [json.loads(line) for line in (tmp_path / "out" / "clip.jsonl").read_text().splitlines()]
    assert head["vocabulary"] == ["striped circle", "dotted star", "grass"]
    assert len(lines) == 3 and all(segment["id"] >= 1 for line in lines for segment in line["segments"])


@pytest.mark.parametrize(
    "options, message",
    [
        (["--save", "coco"], "of a video, overlay (the video) and json (a line per frame) are saved"),
        (["--resume"], "--resume is for images"),
        (["--frame-rate", "5"], "clip.mp4 has its own frame rate; leave out --frame-rate"),
        (["--video-input", "missing.mp4"], "There is no video missing.mp4"),
    ],
)
def test_options_that_a_video_lacks(tiny, tmp_path, capsys, options, message):
    pytest.importorskip("av")
    with pytest.raises(SystemExit):
        _run(tiny, "--video-input", make_video(tmp_path / "clip.mp4", 1), *options)
    assert message in capsys.readouterr().err


def test_a_video_without_pyav_is_one_sentence(tiny, tmp_path, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "av" else find_spec(name))
    with pytest.raises(SystemExit):
        _run(tiny, "--video-input", tmp_path / "clip.mp4")
    assert "error: A video needs the package av: pip install 'masqclip_d2[video]'." in capsys.readouterr().err
