"""Conventions of the source code as tests: devices, exceptions, paths, characters, sizes, ignored warnings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "masqclip_d2"
FOLDERS = ("masqclip_d2", "projects", "benchmarks", "datasets", "demo", "examples", "tests")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60  # docstring apart
ABSOLUTE_PATH = re.compile(r"(/(home|mnt|opt|root|tmp|usr|var|work|data\d*)/\S+|[A-Z]:\\\S*)")

ACROSS_MODULES = {
    "categories/test_categories",
    "checkpoint/test_mask2former_zoo",
    "checkpoint/test_mask_rcnn_weights",
    "checkpoint/test_published",
    "data/test_semantic_mapper",
    "engine/test_foreign_model",
    "engine/test_semantic_only",
    "engine/test_trainable_parameters",
    "engine/test_training_stages",
    "engine/test_two_processes",
    "evaluation/test_memory",
    "evaluation/test_protocols",
    "meta_arch/test_copies",
    "meta_arch/test_extension",
    "meta_arch/test_vocabularies",
    "ops/interpreted/test_golden_sets",
    "ops/test_kernels",
    "proposer/mask2former/test_timm_backbone",
    "test_bad_input_methods",
    "test_conventions",
    "test_documentation",
    "test_encoding_choices",
    "test_end_to_end",
    "test_forked",
    "test_golden",
    "test_lists_of_images",
    "test_packaging",
    "test_photographs",
    "test_released_weights_end_to_end",
    "test_public_names",
    "test_several_machines",
    "test_shapes_metrics",
    "test_shipped_weights",
    "test_synchronization",
}


def source_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(part in ("build", "__pycache__") for part in path.parts):
                yield path


def nodes(*folders: str, kind: type | tuple[type, ...]) -> Iterator[tuple[Path, ast.AST]]:
    """Syntax nodes of a kind with the file that they are in."""
    for path in source_files(*folders):
        for node in _nodes_of_file(path):
            if isinstance(node, kind):
                yield path.relative_to(ROOT), node


@cache
def _nodes_of_file(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def places(found: list[tuple[Path, ast.AST]]) -> list[str]:
    return [f"{path}:{node.lineno}" for path, node in found]


def is_bundled_or_op(path: Path) -> bool:
    return path.parts[1] in ("_bundled", "ops")


def test_there_are_source_files():
    assert len(list(source_files("masqclip_d2"))) > 100


def test_devices_come_from_tensors_and_configs():
    literals = [
        (path, node)
        for path, node in nodes("masqclip_d2", "projects", kind=ast.Constant)
        if isinstance(node.value, str) and re.fullmatch(r"cuda(:\d+)?", node.value) and not is_bundled_or_op(path)
    ]
    assert places(literals) == []


def test_except_clauses_name_exceptions():
    bare = [(path, node) for path, node in nodes(*FOLDERS, kind=ast.ExceptHandler) if node.type is None]
    assert places(bare) == []


def test_no_absolute_paths():
    literals = [
        (path, node)
        for path, node in nodes("masqclip_d2", "projects", "benchmarks", "datasets", "demo", kind=ast.Constant)
        if isinstance(node.value, str) and ABSOLUTE_PATH.match(node.value)
    ]
    assert places(literals) == []


def test_weights_are_read_without_running_code():
    loads = [
        (path, node)
        for path, node in nodes("masqclip_d2", "projects", "benchmarks", kind=ast.Call)
        if ast.unparse(node.func) == "torch.load"
        and not any(each.arg == "weights_only" and ast.unparse(each.value) == "True" for each in node.keywords)
    ]
    assert places(loads) == []


def test_source_files_are_ascii():
    others = [str(path.relative_to(ROOT)) for path in source_files(*FOLDERS) if not path.read_bytes().isascii()]
    assert others == []


def test_type_checker_and_linter_ignores_name_their_rule():
    blanket = re.compile(r"#\s*(type:\s*ignore|pyright:\s*ignore(?!\[)|noqa(?!:)|ruff:\s*noqa(?!:))")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in source_files(*FOLDERS)
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if blanket.search(line)
    ]
    assert found == []


def test_files_are_short():
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in source_files(*FOLDERS)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES
    ]
    assert long == []


def test_functions_are_short():
    functions = nodes("masqclip_d2", "projects", "benchmarks", kind=(ast.FunctionDef, ast.AsyncFunctionDef))
    long = [f"{path}:{node.name}" for path, node in functions if _num_lines(node) > MAX_FUNCTION_LINES]
    assert long == []


def _num_lines(function: ast.FunctionDef) -> int:
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_tests_are_where_their_module_is():
    """tests/fusion/test_panoptic.py tests masqclip_d2/fusion/panoptic.py; tests across modules are listed here."""
    lost = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        relative = path.relative_to(ROOT / "tests")
        name = relative.with_suffix("").as_posix()
        if relative.parts[0] in ("contract", "fuzz") or name in ACROSS_MODULES:
            continue
        folder = (ROOT if relative.parts[0] in ("benchmarks", "examples", "projects") else PACKAGE) / relative.parent
        folder = folder.parent if folder.name == "interpreted" else folder
        module = path.stem.removeprefix("test_")
        if not any((folder / each).exists() for each in (f"{module}.py", f"_{module}.py", module)):
            lost.append(name)
    assert lost == []


def test_packages_say_what_they_may_import():
    """The sentence "May import ..." in a package's docstring agrees with the layers of pyproject.toml."""
    listed = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)[1]
    layer_of = {
        name: index
        for index, line in enumerate(re.findall(r'"(.*)"', listed))
        for name in map(str.strip, line.split("|"))
    }
    faults = []
    for path in sorted(PACKAGE.glob("[a-z]*/__init__.py")):
        name = path.parent.name
        sentence = re.search(r"May import (.*?)\.( |\n|$)", ast.get_docstring(ast.parse(path.read_text())), re.DOTALL)
        if sentence is None:
            faults.append(f"{name}: no sentence")
            continue
        allowed = re.split(r"\b(?:no|not|neither)\b", sentence[1])[0]
        for other in re.findall(r"`(\w+)`", allowed):
            if other in layer_of and layer_of[other] <= layer_of[name]:
                faults.append(f"{name}: {other} is not below it")
    assert not faults


def test_the_architecture_page_lists_all_packages():
    page = (ROOT / "docs" / "architecture.md").read_text()
    packages = [path.parent.name for path in PACKAGE.glob("[a-z]*/__init__.py")]
    assert packages and [name for name in packages if f"`{name}/" not in page] == []
