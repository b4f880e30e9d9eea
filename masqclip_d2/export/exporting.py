"""A model with its weights -> a folder with graphs, text embeddings and a manifest."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..files import expand_home, save_json
from ..predictor import Predictor
from ..vocabulary import Vocabulary, with_background_prompts
from .manifest import build_manifest
from .onnx_files import require_onnx, save_onnx
from .parts import PART_NAMES, Part, build_part
from .programs import export_program, save_program
from .vocabulary_file import FILE_NAME, save_text_embeddings
from .weight_storage import WEIGHT_DTYPES, store_smaller

FORMATS = ("onnx", "pt2")
MANIFEST = "manifest.json"


def export_model(
    predictor: Predictor,
    folder: str | Path,
    parts: Sequence[str] = PART_NAMES,
    formats: Sequence[str] = ("onnx",),
    weight_dtype: str = "fp32",
    vocabulary: Vocabulary | None = None,
    name: str = "",
    licenses: Mapping[str, str] | None = None,
) -> list[Path]:
    """Export parts of a model.

    Args:
        predictor: the model, on the CPU; it is not changed.
        folder: created if it is missing; files of an earlier export with the same names are replaced.
        parts: names of `PART_NAMES`.
        formats: names of `FORMATS`.
        weight_dtype: one of `weight_storage.WEIGHT_DTYPES`.
        vocabulary: categories whose text embeddings are written too; background prompts are added as
            MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS says.
        name: of the model, for the manifest.
        licenses: of the weights, for the manifest.

    Returns:
        The files.

    Raises:
        ImportError: a package for ONNX is missing.
        OSError: the folder cannot be written.
        ValueError: an unknown part, format or dtype, or a model that cannot be exported.
    """
    check_settings(parts, formats, weight_dtype)
    folder = expand_home(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model, clip = predictor.model, predictor.cfg.MODEL.MASQCLIP.CLIP.NAME
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as temporary:
        working = Path(temporary)
        built = [build_part(each, model) for each in dict.fromkeys(parts)]
        files: dict[str, list[str]] = {}
        for part in built:
            files |= _export_part(part, working, formats, weight_dtype, {"name": name, "part": part.name})
        written = [file for names in files.values() for file in names]
        if vocabulary is not None:
            prompts = predictor.cfg.MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS
            save_text_embeddings(working / FILE_NAME, model, with_background_prompts(vocabulary, prompts), clip)
            written.append(FILE_NAME)
        for file in written:
            os.replace(working / file, folder / file)
    if built:
        content = build_manifest(predictor.cfg, model, built, files, weight_dtype, name, licenses or {})
        save_json(folder / MANIFEST, content, indent=2)
        written.append(MANIFEST)
    return [folder / file for file in written]


def check_settings(parts: Sequence[str], formats: Sequence[str], weight_dtype: str) -> None:
    """Raise what `export_model` raises for settings alone, before a model is built."""
    for value, known, what in (
        *((part, PART_NAMES, "part") for part in parts),
        *((each, FORMATS, "format") for each in formats),
        (weight_dtype, WEIGHT_DTYPES, "weight dtype"),
    ):
        if value not in known:
            raise ValueError(f"There is no {what} {value!r}; expected one of {', '.join(known)}.")
    if "onnx" in formats and parts:
        require_onnx()


def _export_part(
    part: Part, folder: Path, formats: Sequence[str], weight_dtype: str, properties: Mapping[str, str]
) -> dict[str, list[str]]:
    """Write the files of a part; returns their names by "PART.FORMAT"."""
    module = part.module
    if weight_dtype != "fp32":
        module = copy.deepcopy(module)
        store_smaller(module, weight_dtype)
    program = export_program(replace(part, module=module))
    files = {}
    if "pt2" in formats:
        path = folder / f"{part.name}.pt2"
        save_program(program, path)
        files[f"{part.name}.pt2"] = [path.name]
    if "onnx" in formats:
        path = folder / f"{part.name}.onnx"
        files[f"{part.name}.onnx"] = [file.name for file in save_onnx(program, part, path, properties)]
    return files
