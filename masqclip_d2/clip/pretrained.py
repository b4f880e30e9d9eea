"""Sources of CLIP weights: OpenAI's models by name or path, open_clip's models by name, and files of state dicts.

All are read as `ClipWeights`. TorchScript archives can run code, so they are opened only if their sha256 is one of
OpenAI's, and only their tensors are used.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checkpoint import local_weights_path, read_checkpoint
from ..files import expand_home, zip_entries
from ..hub import Place, WeightFile, is_remote, place_of, sha256_of
from .eva_weights import eva_kind, with_eva_names
from .preprocessing import ClipPreprocessing

# Entries of the metadata of a .safetensors file, JSON: `ClipArchitecture.to_dict()`, `ClipPreprocessing.to_dict()`.
ARCHITECTURE_METADATA = "clip_architecture"
PREPROCESSING_METADATA = "clip_preprocessing"
OPEN_CLIP_PREFIX = "open_clip:"
OPENAI_MODELS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "openai_models.json").read_text(encoding="utf-8")
)["models"]

# File of open_clip's model repositories on the Hugging Face Hub: today's name, and the older one.
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# Buffers of OpenAI's archives, and of older files of open_clip, that follow from the weights.
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
# Supported keys of an open_clip model configuration (vision_cfg of an EVA: eva_weights.py); any other (pooling, layer
# scale, other tokenizers, ...) means an architecture that `ClipModel` does not implement.
_OPEN_CLIP_KEYS = {
    "": {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"},
    "vision_cfg": {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers"},
}


class ClipWeights(NamedTuple):
    """The weights of a CLIP and the facts about it that do not follow from them."""

    tensors: dict[str, Tensor]  # OpenAI's names, or those of `EvaVisionTransformer` and OpenAI's text tower; on the CPU
    known_sizes: dict[str, Any]  # fields of `ClipArchitecture` that the source states
    preprocessing: ClipPreprocessing | None  # None: the source states none


def read_clip_weights(name: str) -> ClipWeights:
    """Read the weights of a CLIP from any source; `name` as in `load_clip`.

    Raises:
        FileNotFoundError, ValueError: see `load_clip`.
    """
    if name in OPENAI_MODELS:
        return _read_openai_model(name)
    if name.startswith(OPEN_CLIP_PREFIX):
        return read_open_clip(name.removeprefix(OPEN_CLIP_PREFIX))
    path = clip_path(name)
    if is_torchscript(path):
        return ClipWeights(read_openai_archive(path), {}, ClipPreprocessing())
    tensors = _state_dict(path)
    metadata = _safetensors_metadata(path) if path.suffix == ".safetensors" else {}
    preprocessing = None
    if PREPROCESSING_METADATA in metadata:
        preprocessing = ClipPreprocessing.from_dict(json.loads(metadata[PREPROCESSING_METADATA]))
    return ClipWeights(tensors, json.loads(metadata.get(ARCHITECTURE_METADATA, "{}")), preprocessing)


def clip_path(name: str) -> Path:
    """The local file of a CLIP, downloaded if necessary; `name` as in `load_clip`.

    Raises:
        FileNotFoundError: there is no such name or file, or it cannot be downloaded.
        ValueError: see `open_clip_file`.
    """
    file = weight_file(name)
    if file is not None:
        return file.fetch()
    path = local_weights_path(name) if "://" in name else expand_home(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"CLIP {name!r} is neither a file nor a known name. Known: {', '.join(OPENAI_MODELS)}; "
            f"{OPEN_CLIP_PREFIX}MODEL/TAG; masqclip://NAME."
        )
    return path


def weight_file(name: str) -> WeightFile | None:
    """The file on servers that a name of a CLIP or a source of weights means; None for a file of this disk.

    Raises:
        ValueError: see `open_clip_file` and `hub.place_of`.
    """
    if name in OPENAI_MODELS:
        return openai_file(name)
    if name.startswith(OPEN_CLIP_PREFIX):
        return open_clip_file(name.removeprefix(OPEN_CLIP_PREFIX))
    return WeightFile.of(name) if is_remote(name) else None


def openai_file(name: str) -> WeightFile:
    """OpenAI's archive of one of its models, or open_clip's copy of the same weights.

    Args:
        name: a key of `OPENAI_MODELS`, such as "ViT-L/14@336px".
    """
    model = OPENAI_MODELS[name]
    file_name = model["url"].rsplit("/", 1)[1]
    # The folder of OpenAI's own package.
    shared = () if os.environ.get("MASQCLIP_CACHE") else (Path(os.path.expanduser("~/.cache/clip"), file_name),)
    archive = place_of(model["url"], model["sha256"])
    archive = replace(archive, cached_as=PurePosixPath(file_name), elsewhere=shared)
    return WeightFile(name, (archive, *_hub_places(f"{model['hub_copy']}/")))


def open_clip_file(name: str) -> WeightFile:
    """The weights of an open_clip model.

    Args:
        name: "MODEL/TAG", see `read_open_clip`.

    Raises:
        ValueError: unknown model or tag, or not a plain CLIP with a VisionTransformer.
    """
    import open_clip

    model_name, _, tag = name.partition("/")
    _open_clip_config(model_name)
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if tag not in tags:
        raise ValueError(
            f"open_clip has no weights {tag!r} for {model_name}; write open_clip:{model_name}/TAG with one of: "
            f"{', '.join(tags) or '(none exist)'}."
        )
    weights = open_clip.get_pretrained_cfg(model_name, tag)
    places = _hub_places(weights["hf_hub"]) if weights.get("hf_hub") else ()
    if weights.get("url"):
        openai = [known for known, model in OPENAI_MODELS.items() if model["url"] == weights["url"]]
        places = (*places, openai_file(openai[0]).places[0] if openai else place_of(weights["url"]))
    if not places:
        raise ValueError(f"open_clip states no address of the weights {name}; use another tag: {', '.join(tags)}.")
    return WeightFile(f"{OPEN_CLIP_PREFIX}{name}", places)


def _hub_places(hub: str) -> tuple[Place, ...]:
    """Places of an entry `hf_hub` of open_clip's table, "OWNER/REPO/" or "OWNER/REPO/FILE"."""
    repo, _, file_name = hub.rpartition("/")
    if not file_name:
        names = _HUB_FILES
    elif file_name.endswith((".bin", ".pth")):
        names = (f"{file_name[:-4]}.safetensors", file_name)
    else:
        names = (file_name,)
    return tuple(place_of(f"hf://{repo}/{each}@main") for each in names)


def _read_openai_model(name: str) -> ClipWeights:
    path = openai_file(name).fetch()
    if is_torchscript(path):
        return ClipWeights(read_openai_archive(path), {}, ClipPreprocessing())
    tensors = _state_dict(path)
    stated = {key: OPENAI_MODELS[name]["architecture"][key] for key in ("vision_heads", "text_heads", "activation")}
    return ClipWeights(tensors, stated, ClipPreprocessing())


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, the format of OpenAI's CLIP weights."""
    return any(entry.filename.endswith("/constants.pkl") for entry in zip_entries(path) or ())


def read_openai_archive(path: Path) -> dict[str, Tensor]:
    """State dict of one of OpenAI's archives.

    Raises:
        ValueError: its sha256 is not one of OpenAI's; the archive is not opened.
    """
    digest = sha256_of(path)
    if digest not in {model["sha256"] for model in OPENAI_MODELS.values()}:
        raise ValueError(
            f"{path} is a TorchScript archive, which can run code when opened, and its sha256 {digest} is none of "
            f"OpenAI's ({', '.join(OPENAI_MODELS)}): it is damaged or from another source. Download it again, or save "
            "its state dict as .safetensors where running it is safe, and load that file."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.load.* is deprecated")  # there is no other reader
        tensors = torch.jit.load(str(path), map_location="cpu").state_dict()
    return _without_extras(tensors)


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a file in the names of `ClipWeights`, whatever wraps them."""
    tensors = read_checkpoint(path)["model"]
    return _without_extras(with_eva_names({name.removeprefix("module."): each for name, each in tensors.items()}))


def _without_extras(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name not in _OPENAI_EXTRAS}


def read_open_clip(name: str) -> ClipWeights:
    """Weights of an open_clip model.

    Args:
        name: "MODEL/TAG" as open_clip names them, such as "ViT-B-16/laion2b_s34b_b88k".

    Raises:
        ValueError: unknown model or tag, or not a plain CLIP with a VisionTransformer.
        FileNotFoundError: it could not be downloaded.
    """
    path = open_clip_file(name).fetch()
    known_sizes, preprocessing = _open_clip_facts(name)
    if is_torchscript(path):  # OpenAI's, which open_clip opens without a check
        return ClipWeights(read_openai_archive(path), known_sizes, preprocessing)
    return ClipWeights(_state_dict(path), known_sizes, preprocessing)


def open_clip_shapes(name: str) -> ClipWeights:
    """As `read_open_clip`, without a file: the tensors are those of open_clip's network, on the device "meta"."""
    import open_clip

    open_clip_file(name)
    config = _open_clip_config(name.partition("/")[0])
    build = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"):
        network = build(**config)
    return ClipWeights(with_eva_names(network.state_dict()), *_open_clip_facts(name))


def _open_clip_facts(name: str) -> tuple[dict[str, Any], ClipPreprocessing]:
    """`ClipWeights.known_sizes` and the preprocessing of weights of open_clip."""
    import open_clip

    model_name, _, tag = name.partition("/")
    config, weights = _open_clip_config(model_name), open_clip.get_pretrained_cfg(model_name, tag)
    activation = "quick_gelu" if weights.get("quick_gelu", False) else "gelu"
    known_sizes = {"text_heads": config["text_cfg"]["heads"], "activation": activation}
    vision, kind = config["vision_cfg"], eva_kind(config)
    if kind is not None:
        known_sizes["vision_kind"] = kind
    else:
        known_sizes["vision_heads"] = vision["width"] // vision.get("head_width", 64)
    preprocessing = {key: weights[key] for key in ("mean", "std", "interpolation") if weights.get(key) is not None}
    return known_sizes, ClipPreprocessing.from_dict(preprocessing)


def _open_clip_config(model_name: str) -> dict[str, Any]:
    """open_clip's configuration of a model; ValueError if there is none or it is not supported."""
    import open_clip

    config = open_clip.get_model_config(model_name)
    if config is None:
        raise ValueError(f"open_clip has no model {model_name!r}; open_clip.list_models() lists them.")
    _refuse_unsupported(model_name, config)
    return config


def _refuse_unsupported(model_name: str, config: dict[str, Any]) -> None:
    is_eva = eva_kind(config) is not None
    extra = set(config) - _OPEN_CLIP_KEYS[""] - ({"custom_text"} if is_eva else set())
    for part in ("text_cfg",) if is_eva else ("vision_cfg", "text_cfg"):
        extra |= set(config[part]) - _OPEN_CLIP_KEYS[part]
    if isinstance(config["vision_cfg"].get("layers"), list):
        extra.add("a ResNet")
    if extra and "SigLIP" in model_name:
        raise ValueError(
            f"open_clip's {model_name} is not supported: SigLIP has no class token (its image embedding is pooled from "
            "the patches by a query of its own), so there is nothing that mask class tokens could be copies of. Use "
            "EVA02-L-14-336 or ViT-L-14."
        )
    if extra:
        raise ValueError(
            f"open_clip's {model_name} is not supported: only VisionTransformers with class-token pooling and CLIP's "
            f"own text tower are, but it has {', '.join(sorted(extra))}. Use ViT-B-16 or ViT-L-14, or wrap the model "
            "in a CLIP of your own (CLIP_REGISTRY, key MODEL.MASQCLIP.CLIP.BUILDER)."
        )


def _safetensors_metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}
