"""Sources of CLIP weights: OpenAI's archives by name or path, open_clip's models by name, and files of state dicts.

All are read as `ClipWeights`. TorchScript archives can run code, so they are opened only if their sha256 is one of
OpenAI's, and only their tensors are used.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checkpoint import local_weights_path, read_checkpoint
from ..files import atomic_write
from .preprocessing import ClipPreprocessing

# Entries of the metadata of a .safetensors file, JSON: `ClipArchitecture.to_dict()`, `ClipPreprocessing.to_dict()`.
ARCHITECTURE_METADATA = "clip_architecture"
PREPROCESSING_METADATA = "clip_preprocessing"
OPEN_CLIP_PREFIX = "open_clip:"
OPENAI_MODELS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "openai_models.json").read_text(encoding="utf-8")
)["models"]

_CHUNK = 1 << 20  # bytes
_DOWNLOAD_TIMEOUT = 30  # seconds without data
# Buffers of OpenAI's archives that follow from the weights.
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
# Supported keys of an open_clip model configuration; any other (pooling, layer scale, other tokenizers, ...) means an
# architecture that `ClipModel` does not implement.
_OPEN_CLIP_KEYS = {
    "": {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"},
    "vision_cfg": {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers"},
}


class ClipWeights(NamedTuple):
    """The weights of a CLIP and the facts about it that do not follow from them."""

    tensors: dict[str, Tensor]  # OpenAI's names, on the CPU
    known_sizes: dict[str, Any]  # fields of `ClipArchitecture` that the source states
    preprocessing: ClipPreprocessing | None  # None: the source states none


def read_clip_weights(name: str) -> ClipWeights:
    """Read the weights of a CLIP from any source; `name` as in `load_clip`.

    Raises:
        FileNotFoundError, ValueError: see `load_clip`.
    """
    if name in OPENAI_MODELS:
        return ClipWeights(read_openai_archive(openai_archive(name)), {}, ClipPreprocessing())
    if name.startswith(OPEN_CLIP_PREFIX):
        return read_open_clip(name.removeprefix(OPEN_CLIP_PREFIX))
    path = local_weights_path(name) if "://" in name else Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"CLIP {name!r} is neither a file nor a known name. Known: {', '.join(OPENAI_MODELS)}; "
            f"{OPEN_CLIP_PREFIX}MODEL/TAG; masqclip://NAME."
        )
    if is_torchscript(path):
        return ClipWeights(read_openai_archive(path), {}, ClipPreprocessing())
    tensors = read_checkpoint(path)["model"]
    metadata = _safetensors_metadata(path) if path.suffix == ".safetensors" else {}
    preprocessing = None
    if PREPROCESSING_METADATA in metadata:
        preprocessing = ClipPreprocessing.from_dict(json.loads(metadata[PREPROCESSING_METADATA]))
    return ClipWeights(tensors, json.loads(metadata.get(ARCHITECTURE_METADATA, "{}")), preprocessing)


def cache_dir() -> Path:
    """Folder of downloaded archives: MASQCLIP_CACHE, else ~/.cache/clip as in OpenAI's own package."""
    return Path(os.environ.get("MASQCLIP_CACHE") or Path.home() / ".cache" / "clip").expanduser()


def openai_archive(name: str) -> Path:
    """Local file of one of OpenAI's models, downloaded once.

    Args:
        name: a key of `OPENAI_MODELS`, such as "ViT-L/14@336px".

    Raises:
        FileNotFoundError: it is not in the cache and cannot be downloaded; the message has the URL and the path.
    """
    url = OPENAI_MODELS[name]["url"]
    path = cache_dir() / url.rsplit("/", 1)[1]
    if not path.is_file():
        try:
            _download(url, path, OPENAI_MODELS[name]["sha256"])
        except OSError as error:
            raise FileNotFoundError(
                f"CLIP {name} is not at {path} and could not be downloaded ({error}). Download {url} on a connected "
                f"machine and put the file at {path}, or set MASQCLIP_CACHE to the folder that has it."
            ) from error
    return path


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, the format of OpenAI's CLIP weights."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_openai_archive(path: Path) -> dict[str, Tensor]:
    """State dict of one of OpenAI's archives.

    Raises:
        ValueError: its sha256 is not one of OpenAI's; the archive is not opened.
    """
    digest = _sha256(path)
    if digest not in {model["sha256"] for model in OPENAI_MODELS.values()}:
        raise ValueError(
            f"{path} is a TorchScript archive, which can run code when opened, and its sha256 {digest} is none of "
            f"OpenAI's ({', '.join(OPENAI_MODELS)}): it is damaged or from another source. Download it again, or save "
            "its state dict as .safetensors where running it is safe, and load that file."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.load.* is deprecated")  # there is no other reader
        tensors = torch.jit.load(str(path), map_location="cpu").state_dict()
    return {name: tensor for name, tensor in tensors.items() if name not in _OPENAI_EXTRAS}


def read_open_clip(name: str) -> ClipWeights:
    """Weights of an open_clip model, downloaded and cached by open_clip.

    Args:
        name: "MODEL/TAG" as open_clip names them, such as "ViT-B-16/laion2b_s34b_b88k".

    Raises:
        ValueError: unknown model or tag, or not a plain CLIP with a VisionTransformer.
        FileNotFoundError: it could not be downloaded.
    """
    import open_clip

    model_name, _, tag = name.partition("/")
    config = open_clip.get_model_config(model_name)
    if config is None:
        raise ValueError(f"open_clip has no model {model_name!r}; open_clip.list_models() lists them.")
    _refuse_unsupported(model_name, config)
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if tag not in tags:
        raise ValueError(
            f"open_clip has no weights {tag!r} for {model_name}; write open_clip:{model_name}/TAG with one of: "
            f"{', '.join(tags) or '(none exist)'}."
        )
    weights = open_clip.get_pretrained_cfg(model_name, tag)
    preprocessing = ClipPreprocessing.from_dict(
        {key: weights[key] for key in ("mean", "std", "interpolation") if weights.get(key) is not None}
    )
    quick_gelu = bool(weights.get("quick_gelu", False))
    vision = config["vision_cfg"]
    known_sizes = {
        "vision_heads": vision["width"] // vision.get("head_width", 64),
        "text_heads": config["text_cfg"]["heads"],
        "activation": "quick_gelu" if quick_gelu else "gelu",
    }
    try:  # only the weights are used; force_quick_gelu prevents open_clip's warning about another activation
        model = open_clip.create_model(model_name, pretrained=tag, device="cpu", force_quick_gelu=quick_gelu)
    except (OSError, RuntimeError) as error:
        source = weights.get("hf_hub") or weights.get("url")
        raise FileNotFoundError(
            f"open_clip could not load {name} ({error}). Download the weights of {source} on a connected machine and "
            f"use load_clip(FILE, architecture={known_sizes}, preprocessing={preprocessing})."
        ) from error
    return ClipWeights(model.state_dict(), known_sizes, preprocessing)


def _refuse_unsupported(model_name: str, config: dict[str, Any]) -> None:
    extra = set(config) - _OPEN_CLIP_KEYS[""]
    for part in ("vision_cfg", "text_cfg"):
        extra |= set(config[part]) - _OPEN_CLIP_KEYS[part]
    if isinstance(config["vision_cfg"].get("layers"), list):
        extra.add("a ResNet")
    if extra:
        raise ValueError(
            f"open_clip's {model_name} is not supported: only VisionTransformers with class-token pooling and CLIP's "
            f"own text tower are, but it has {', '.join(sorted(extra))}. Use ViT-B-16 or ViT-L-14, or wrap the model "
            "in a CLIP of your own (CLIP_REGISTRY, key MODEL.MASQCLIP.CLIP.BUILDER)."
        )


def _download(url: str, path: Path, sha256: str) -> None:
    """Download `url` to `path` atomically, after a check of its sha256."""
    from tqdm import tqdm

    with atomic_write(path) as temporary:
        digest = hashlib.sha256()
        with temporary.open("wb") as file, urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT) as source:
            total = int(source.headers.get("Content-Length", 0)) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=path.name) as progress:
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    progress.update(len(chunk))
        if digest.hexdigest() != sha256:
            raise OSError(f"the download is damaged: its sha256 is {digest.hexdigest()}, expected {sha256}")


def _safetensors_metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
