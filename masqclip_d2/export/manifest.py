"""manifest.json of an export: everything that a program needs that runs the files without this package."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from .. import __version__
from ..meta_arch.open_vocabulary import OpenVocabularySegmenter
from ..presets import LARGEST_TOY_INPUT, TOY_CLIP
from ..vocabulary import Vocabulary
from .onnx_files import OPSET
from .parts import LARGEST_SIDE, Part

FORMAT_VERSION = 1


def build_manifest(
    cfg,
    model: OpenVocabularySegmenter,
    parts: Iterable[Part],
    files: Mapping[str, Sequence[str]],
    weight_dtype: str,
    name: str,
    licenses: Mapping[str, str],
) -> dict[str, Any]:
    """Content of the manifest.

    Args:
        cfg: configuration of the model.
        model: the model.
        parts: those that were exported.
        files: names of the files of each part and format, by "PART.FORMAT".
        weight_dtype: see `weight_storage`.
        name: of the model, such as that of a preset.
        licenses: of the weights: "masks", "clip"; empty: unknown.
    """
    return {
        "format_version": FORMAT_VERSION,
        "model": {
            "name": name,
            "meta_architecture": cfg.MODEL.META_ARCHITECTURE,
            "weights": cfg.MODEL.WEIGHTS,
            "clip": cfg.MODEL.MASQCLIP.CLIP.NAME,
            "weight_dtype": weight_dtype,
        },
        "licenses": dict(licenses) or "unknown: those of the weights",
        "versions": _versions(),
        "preprocessing": _preprocessing(cfg, model),
        "postprocessing": _postprocessing(model),
        "parts": {part.name: _described(part, files) for part in parts},
    }


def _versions() -> dict[str, str | int]:
    versions: dict[str, str | int] = {"masqclip_d2": __version__, "torch": torch.__version__, "onnx_opset": OPSET}
    for package in ("onnx", "onnxscript"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _described(part: Part, files: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    formats = {key.partition(".")[2]: list(names) for key, names in files.items() if key.startswith(f"{part.name}.")}
    return {
        "files": formats,
        "inputs": [asdict(tensor) for tensor in part.inputs],
        "outputs": [asdict(tensor) for tensor in part.outputs],
        "image_sides": {"min": part.smallest_side, "max": LARGEST_SIDE},
    }


def _preprocessing(cfg, model: OpenVocabularySegmenter) -> dict[str, Any]:
    shortest, longest = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    if not shortest:
        longest = LARGEST_TOY_INPUT if cfg.MODEL.MASQCLIP.CLIP.NAME == TOY_CLIP else 0
    visual, proposer = model.visual_encoder.visual, model.proposer
    clip = visual.preprocessing.to_dict() | {"resolution": visual.input_resolution}
    inside: dict[str, Any] = {"clip": clip}
    if hasattr(proposer, "pixel_mean") and hasattr(proposer, "size_divisibility"):
        inside["proposer"] = {
            "mean": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
            "std": [float(value) for value in cfg.MODEL.PIXEL_STD],
            "padded_to_multiples_of": proposer.size_divisibility,
        }
    return {
        "image": "uint8 RGB of shape (height, width, 3), values 0..255, turned upright",
        "resize": {
            "shorter_side": shortest or None,
            "longest_side": longest or None,
            "rule": "scale so that the shorter side is shorter_side; less if the longer side exceeded longest_side; "
            "with shorter_side null, shrink only; bilinear with anti-aliasing, as Pillow does",
        },
        "inside_the_graph": inside,
    }


def _postprocessing(model: OpenVocabularySegmenter) -> dict[str, Any]:
    one = Vocabulary(("any",), (True,))
    log_probs = torch.zeros(1, 2 if model.extra_class else 1)
    return {
        "scores": "softmax over the columns of class_logits, see column_of_row in vocabulary.npz",
        "use_object_score": model.use_object_score,
        "background_prompts_reject": True,
        "extra_class": model.extra_class,
        "extra_class_rejects": model.class_scores(log_probs, one).reject_probs is not None,
        "object_threshold": model.tasks.object_threshold,
        "overlap_threshold": model.tasks.overlap_threshold,
    }
