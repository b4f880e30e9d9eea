"""Every command in the documentation runs: in a folder like a fresh clone, in order, with few steps and images."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.cli.command import Command
from masqclip_d2.cli.main import COMMANDS
from masqclip_d2.clip.model import build_clip, save_clip
from masqclip_d2.config import load_config
from masqclip_d2.config_files import shipped_configs
from masqclip_d2.data.preparation import prepare
from projects.documentation.pages import find_pages
from tests import original_formats
from tests.forked import run_python
from tests.helpers import TINY_CLIP, TINY_MASK_RCNN, TINY_PROPOSER, published_name

ROOT = Path(__file__).resolve().parent.parent
# Pages whose commands are not run one after another -> the reason.
RUN_ELSEWHERE = {
    "CHANGELOG.md": "names commands of earlier versions",
    "CONTRIBUTING.md": "make targets for development, which continuous integration runs",
    "docs/benchmarks.md": "scripts that measure for minutes",
    "docs/roadmap.md": "what it would take to measure what is open: GPUs, datasets, hours",
    "docs/shapes_results.md": "written by a command that takes hours; tests/projects/shapes_results runs its stages",
    "projects/shapes_results/README.md": "the same command",
    "masqclip_d2/weights/README.md": "stages that docs/training.md and docs/shapes_training.md run, and conversions, "
    "which tests/cli/test_convert.py runs",
    "projects/figures/README.md": "overwrites the figures in docs/; tests/projects/figures draws each of them",
}
# Notebooks: tests/projects/notebooks.
MARKDOWN = [page.file for page in find_pages(ROOT) if page.file.suffix == ".md"]
PAGES = ["README.md", *sorted(str(file.relative_to(ROOT)) for file in MARKDOWN)]
LANGUAGES = {"", "bash", "python", "yaml", "text", "bibtex"}  # of code blocks; text is not run
FEWER_STEPS = ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0"]
# Configurations of real data on miniatures: smallest sizes, no weights to download.
SMALL_MODEL = [
    *TINY_PROPOSER, "MODEL.BACKBONE.NAME", "TinyBackbone", "MODEL.SEM_SEG_HEAD.CONVS_DIM", "64",
    "MODEL.SEM_SEG_HEAD.MASK_DIM", "64", "MODEL.MASK_FORMER.HIDDEN_DIM", "64", "MODEL.MASK_FORMER.NHEADS", "4",
    "MODEL.MASQCLIP.CLIP.NAME", "small_clip.safetensors", "INPUT.MIN_SIZE_TEST", "64",
]  # fmt: skip
SMALL_MASK_RCNN = [*TINY_MASK_RCNN, "MODEL.BACKBONE.NAME", "TorchvisionResNet"]
# Commands that are not run -> the reason.
SHOWN_ONLY = {
    "masqclip download photos": "downloads weights; tests/cli/test_download.py uses a local server",
    "make test": "this test run",
    "make fuzz MINUTES=10": "takes ten minutes; this test run has the same tests with fewer examples",
    "make lint": "needs the tools of a development environment; continuous integration runs it",
    "make bench-gpu": "needs a GPU; tests/benchmarks/test_gpu.py runs the script without one",
    "python benchmarks/gpu.py": "the same",
    "python benchmarks/gpu.py --device cpu --tiny": "tests/benchmarks/test_gpu.py runs it",
    "make figures": "overwrites the figures in docs/; tests/projects/figures draws each of them",
    "masqclip check-data 'masqclip_ade20k_*_val' masqclip_lvis_v1_val": "counts all published images",
    "masqclip check-data ade20k_panoptic_val openvocab_pascal_ctx59_sem_seg_val": "the same",
    "pip install -e .": "what the environment of the tests was made with",
    'pip install -e ".[export]"': "the same, with packages for exports",
    'pip install "masqclip_d2[export]"': "installs packages; the environment of the tests has them",
    'pip install "masqclip_d2[video]"': "the same",
    'pip install "masqclip_d2[scale]"': "the same",
    "python benchmarks/labelling.py": "renders and labels 40 images; tests/benchmarks/test_labelling.py has fewer",
    "pip install --no-deps lvis": "installs a package; tests/evaluation/test_lvis.py uses it",
    'pip install "masqclip_d2[wandb]"': "installs packages",
    'pip install "masqclip_d2[supervision]"': "the same",
    'pip install "masqclip_d2[mlflow]"': "the same",
    "pip install mlflow": "the same",
    'pip install "masqclip_d2[serve]"': "the same",
    'pip install "masqclip_d2[app]"': "the same",
    'pip install "masqclip_d2[detectron2]"': "installs packages; names the extra that setup.py defines",
    'pip install "masqclip_d2[docs]"': "the same",
    "make docs": "tests/projects/documentation/test_build.py builds the site",
    "python -m http.server --directory output/documentation/site": "never ends",
    "masqclip check-data masqclip_coco_panoptic_val": "counts all published images",
    "python train_net.py --num-gpus 8 ...": "the beginning of a command",
}
# The same for the beginning of a long command.
SHOWN_ONLY_FROM = {
    "masqclip export --model photos": "downloads weights; tests/export has the same for small models",
    "python demo/demo.py --model photos --input photo.jpg": "downloads weights; test_released_weights_end_to_end.py "
    "does the same with a local server",
    "masqclip demo --model photos --input photo.jpg": "the same",
    "python train_net.py --config-file configs/shapes/teacher.yaml --num-gpus 8 --num-machines 2": "waits for another "
    "machine; tests/test_several_machines.py runs both",
    "python benchmarks/web_page.py": "tests/benchmarks/test_web_page.py runs it",
    "masqclip app": "runs until it is stopped; tests/cli/test_app.py starts it",
    "masqclip serve": "runs until it is stopped; tests/cli/test_serve.py starts it",
    "python examples/label_studio_backend/server.py --model photos": "runs until it is stopped; "
    "tests/examples/label_studio_backend runs the server",
    "python train_net.py --eval-only --config-file configs/masqclip_r50.yaml": "needs CLIP ViT-L/14@336px; "
    "tests/evaluation/test_protocols.py does the same on miniatures",
}


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of the fenced code blocks of a page."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def files(page: str) -> dict[str, str]:
    """Files that a reader of the page saves: blocks that begin with a comment with nothing but a file name."""
    named = ((re.match(r"# (\w+\.(?:py|yaml))\n", text), text) for _, text in blocks(page))
    return {match[1]: text for match, text in named if match}


def commands(page: str) -> list[str]:
    """Shell commands of a page: in blocks, and between backticks in the text."""
    text = (ROOT / page).read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`((?:masqclip [\w-]+|python|make|pip) [^`\n]+)`", prose)
    fenced = [line for language, block in blocks(page) if language in ("", "bash") for line in block.splitlines()]
    return [line.strip() for line in fenced + inline if re.match(r"(masqclip|python|make|pip|bash) ", line.strip())]


def is_shown_only(command: str) -> bool:
    return command in SHOWN_ONLY or command.startswith(tuple(SHOWN_ONLY_FROM))


def is_run(page: str) -> bool:
    """Whether a page has commands to run, or Python."""
    has_python = any(language == "python" for language, _ in blocks(page))
    return page not in RUN_ELSEWHERE and (has_python or not all(map(is_shown_only, commands(page))))


@pytest.fixture
def clone(tmp_path):
    """A folder like a clone, with its own data and output, and miniatures of the published datasets."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in ("datasets", "output", ".git", ".venv", "build"):
            (folder / entry.name).symlink_to(entry)
    (folder / "datasets").mkdir()
    for entry in (ROOT / "datasets").glob("*.*"):
        (folder / "datasets" / entry.name).symlink_to(entry)
    for name in (
        "coco_panoptic",
        "coco_instances",
        "ade20k",
        "ade20k_full",
        "pascal_context",
        "pascal_voc",
        "lvis",
        "cityscapes",
    ):
        getattr(original_formats, f"write_{name}")(folder / "datasets")
    save_clip(
        folder / "small_clip.safetensors",
        build_clip({**TINY_CLIP, "vision_layers": 24, "context_length": 77, "vocab_size": 49408}),
    )
    return folder


def run(command: str, clone: Path) -> None:
    """Run a command with few steps and images in `clone`."""
    words = words_of(command, clone)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DETECTRON2_DATASETS": "datasets"}
    if words[0] == "python":
        has_stages = program(words) in ("run-stages", "projects.shapes_results")
        done = run_python(words[1:], cwd=clone, env=environment, fork_children=has_stages)
    else:
        done = subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


def words_of(command: str, clone: Path) -> list[str]:
    """The command line with globs expanded and small sizes; `masqclip` as `python -m masqclip_d2`."""
    command = re.sub(r"--num-(train|val|captions|closeups) \d+", r"--num-\1 8", command)
    command = command.replace("--num-val 8", "--num-val 4")
    unquoted = [word if "*" in word and "'" not in word else None for word in shlex.split(command, posix=False)]
    globs = {word: sorted(map(str, clone.glob(word))) for word in unquoted if word}
    words = [match for word in shlex.split(command) for match in globs.get(word, [word])]
    if words[0] not in ("masqclip", "python"):
        return words
    if words[0] == "masqclip":
        words = ["python", "-m", "masqclip_d2", *words[1:]]
    if program(words) in ("train_net.py", "my_train.py", "train", "run-stages"):
        words += FEWER_STEPS
    if re.search(r"make[-_]shapes|prepare", program(words)):
        words += ["--workers", "1"]
    if program(words) == "projects.shapes_results":
        words += ["--opts", *FEWER_STEPS]
    if program(words) == "convert":  # never overwrites the shipped weights
        words = [re.sub(r"^masqclip_d2/weights/", "output/", word) for word in words]
    return for_real_data(words, clone) if "_r50" in command else words


def program(words: list[str]) -> str:
    """What a command line of Python runs: a verb of masqclip, a module, or a script."""
    if words[1:3] == ["-m", "masqclip_d2"]:
        return words[3]
    return words[2] if words[1] == "-m" else words[1]


def makefile_commands(target: str) -> list[str]:
    """The Python commands that a make target would run, with the environment's interpreter."""
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.strip() for line in done.stdout.splitlines()]
    commands = [re.sub(r"^\S*/python ", "python ", line) for line in lines if re.match(r"\S*/python ", line)]
    return [line for line in commands if " pip " not in line]


def for_real_data(words: list[str], clone: Path) -> list[str]:
    """A command for real data with a small model, untrained in place of trained weights, on the CPU.

    A plan of stages is only printed; tests/engine/stages/test_run.py runs one.
    """
    words = ["0" if before == "--num-gpus" else word for before, word in zip(["", *words], words, strict=False)]
    small = SMALL_MODEL + (SMALL_MASK_RCNN if "mask_rcnn" in " ".join(words) else [])
    if program(words) == "convert":
        return [*words, "--opts", *small]
    if program(words) == "run-stages":
        return [*words, "--dry-run"]
    if "MODEL.WEIGHTS" in words:
        weights = clone / words[words.index("MODEL.WEIGHTS") + 1]
        if not weights.is_file():
            owner = next(name for name in shipped_configs() if leaves(name, weights.relative_to(clone)))
            model = build_model(load_config(owner, [*small, *_small_clip(clone)]))
            weights.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"model": model.state_dict()}, weights)
    return words + small


def leaves(config: str, weights: Path) -> bool:
    """Whether a configuration writes these weights to its OUTPUT_DIR, a student to the folder of a round."""
    folder = weights.parent.parent if weights.parent.name.startswith("round_") else weights.parent
    return Path(load_config(config).OUTPUT_DIR) == folder


def write_published_checkpoints(clone: Path) -> None:
    """Small checkpoints under the published parameter names, in place of the downloads."""
    (clone / "downloads").mkdir()
    names = {"maskclip": "maskclip_r50", "masqclip": "masqclip_r50", "student": "coco/teacher_r50"}
    for kind, config in names.items():
        model = build_model(load_config(config, [*SMALL_MODEL, *_small_clip(clone)]))
        tensors = {n: t for n, t in model.state_dict().items() if not n.startswith("text_classifier.")}
        published = {published_name(name, kind): tensor for name, tensor in tensors.items()}
        torch.save({"model": published, "iteration": 9999}, clone / "downloads" / f"{kind}.pth")


def _small_clip(clone: Path) -> list[str]:
    return ["MODEL.MASQCLIP.CLIP.NAME", str(clone / "small_clip.safetensors")]


def prepare_miniatures(clone: Path) -> None:
    for name in ("coco_split", "ade20k", "ade20k_full", "pascal_context"):
        prepare(name, clone / "datasets", splits=["val"], progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if is_run(page)])
def test_commands_of_a_page_run(page, clone):
    if page in ("docs/migration.md", "docs/paper_rows.md"):
        write_published_checkpoints(clone)
        prepare_miniatures(clone)
    for name, text in files(page).items():
        (clone / name).write_text(text)
    for command in commands(page):
        if is_shown_only(command):
            continue
        if page != {"make demo": "README.md", "masqclip doctor": "docs/installation.md"}.get(command, page):
            continue  # runs there
        if command.startswith("make "):
            lines = makefile_commands(command.split()[1])
            assert lines
            for line in lines:
                run(line, clone)
        else:
            run(command, clone)
    run_python_blocks(page, clone)  # after the commands, whose results it may use


def run_python_blocks(page: str, clone: Path) -> None:
    """Run the Python of a page that is not saved as a file, a block at a time; each prints something."""
    for block in (text for language, text in blocks(page) if language == "python" and text not in files(page).values()):
        done = run_python(["-c", block], cwd=clone, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr[-1500:]
        assert done.stdout.strip()


def test_there_are_commands_and_no_placeholders():
    assert {"make demo", "make test"} <= set(commands("README.md"))
    assert any(line.startswith("masqclip demo --vocab") for line in commands("README.md"))
    photographs = 'python demo/demo.py --model photos --input photo.jpg --vocab "dog,ball" --stuff "grass,sky"'
    assert photographs in commands("README.md")
    for page in PAGES:
        assert not re.search(r"PLACEHOLDER|TODO|NUMBERS$", (ROOT / page).read_text(), flags=re.MULTILINE)


def test_links_and_figures_exist():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_have_a_language_whose_blocks_are_run(page):
    for language, text in blocks(page):
        assert language in LANGUAGES, f"{page}: {language}"
        if language == "yaml":
            assert re.match(r"# \w+\.yaml\n", text), f"{page}: a YAML block begins with a comment with its file name"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_option_exists(page):
    """Of commands that are not run, too."""
    shown = re.findall(r"^ {4}((?:masqclip|python) .+)$", (ROOT / page).read_text(), flags=re.MULTILINE)
    for command in [*commands(page), *shown]:
        words = shlex.split(command)
        scripts = {"train_net.py": "train", "demo/demo.py": "demo"}
        verb = words[1] if words[0] == "masqclip" else scripts.get(words[1] if len(words) > 1 else "", "")
        if verb and "..." not in words and not re.fullmatch(r"[A-Z]+", words[-1]):
            assert verb in COMMANDS, f"{page}: {command}"
            parse(COMMANDS[verb], words[2:], f"{page}: {command}")


def parse(command: Command, words: list[str], where: str) -> None:
    parser = command.parser()
    try:
        args = parser.parse_intermixed_args(words) if command.intermixed else parser.parse_args(words)
    except SystemExit:
        pytest.fail(where)
    flags = [word for word in getattr(args, "opts", []) if word.startswith("--")]
    known = {option for action in parser._actions for option in action.option_strings}
    assert set(flags) <= known, where


def test_every_extra_is_in_the_table_of_the_installation():
    project = (ROOT / "pyproject.toml").read_text()
    section = project.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    table = re.findall(r"^\| (`.*?`) \| ", (ROOT / "docs/installation.md").read_text(), flags=re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`(\w+)`", cell) if name.islower()}
    assert named == set(re.findall(r"^(\w+) = \[", section, flags=re.MULTILINE))


def test_every_row_of_the_papers_names_a_shipped_configuration():
    from masqclip_d2.config_files import shipped_configs

    rows = re.findall(r"^\|(.*)\|$", (ROOT / "docs/paper_rows.md").read_text(), flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`((?:\w+/)?(?:mask|masq|clip)\w+)`", row)}
    # Below configs/shapes/*/ are the same rows for other sizes of the world.
    shipped = {
        name
        for name in shipped_configs()
        if re.search("maskclip|masqclip|clip_baseline", name) and not re.match("shapes/.*/", name)
    }
    assert named == shipped
