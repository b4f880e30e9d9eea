"""Checks of an installation: imports, Detectron2, devices, ops, weights, caches, datasets, and a run of the model."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import shutil
import time
import warnings
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

from .. import ops
from .._compat import detectron2_backend
from ..checkpoint import reading
from ..clip.pretrained import OPEN_CLIP_PREFIX, OPENAI_MODELS, open_clip_file, openai_file
from ..data.registration import datasets_root
from ..hub import cache_dir
from ..ops.selection import Selection, explain_selection
from ..vocabulary.text_cache import text_cache_dir
from .check_result import CheckResult, run_check
from .datasets import is_present

# Installed packages that may still fail to load: a missing system library, another ABI.
_MODULES = ("torchvision", "cv2", "scipy.optimize", "pycocotools.mask", "fvcore.nn", "open_clip")
# Package -> what it is for.
_OPTIONAL = {"lvis": "for evaluation on LVIS: pip install --no-deps lvis"}
_DEFAULT_CLIP = "ViT-L/14@336px"
_PREFIX = "masqclip_"
_MAX_NAMES = 6  # per line
_RUN_VOCABULARY = "striped circle,dotted star,plain cross,ringed square"
_RUN_STUFF = "grass,sand,water"


def check_installation(run: bool = True) -> list[CheckResult]:
    """Run all checks in order; `run`: also segment a sample image with the shipped weights."""
    results = [
        run_check("imports", _imports),
        run_check("detectron2", _detectron2),
        *_devices(),
        _triton(),
        run_check("ops", _ops),
        run_check("weights", _shipped_weights),
        _openai_weights(),
        _open_clip_weights(),
        _text_cache(),
        _datasets(),
        *(_optional(name, use) for name, use in _OPTIONAL.items()),
    ]
    return [*results, run_check("run", _run)] if run else results


def _imports() -> str:
    for name in _MODULES:
        try:
            with warnings.catch_warnings():
                # Of recent versions of torch about decorators of other packages.
                warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated.*")
                importlib.import_module(name)
        except Exception as error:  # a broken binary raises anything
            raise ImportError(f"{name} is installed but cannot be imported ({error}); install it again.") from error
    return ", ".join(_MODULES)


def _detectron2() -> str:
    backend, choice = detectron2_backend(), os.environ.get("MASQCLIP_D2", "auto")
    if choice != "auto":
        why = f"MASQCLIP_D2={choice}"
    elif backend.kind == "real":
        why = "installed, so the bundled subset is not used"
    else:
        why = "no other is installed; a checkout of facebookresearch/detectron2 on PYTHONPATH would be used"
    return f"{backend}: {why}"


def _devices() -> list[CheckResult]:
    if not torch.accelerator.is_available():
        return [run_check("device", _cpu_only)]
    kind = _default_device().type
    return [
        run_check("device", lambda index=index: _accelerator(torch.device(kind, index)))
        for index in range(torch.accelerator.device_count())
    ]


def _default_device() -> torch.device:
    """The accelerator in use, or the CPU."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if device is None else device


def _cpu_only() -> str:
    """Raise ValueError if there is an NVIDIA driver that this build of torch cannot use."""
    build = torch.version.cuda
    if shutil.which("nvidia-smi") and build is None:
        raise ValueError(
            f"torch {torch.__version__} was built without CUDA, though this machine has NVIDIA's driver; install a "
            "CUDA build (see pytorch.org) to use the GPU."
        )
    built = f"torch is built for CUDA {build}" if build else "torch is built without CUDA"
    return f"CPU, {torch.get_num_threads()} threads; no GPU found ({built})"


def _accelerator(device: torch.device) -> str:
    """Multiply two matrices on the device; a GPU that the build does not support fails only then."""
    ones = torch.ones(8, 8, device=device)
    if (ones @ ones).sum().item() != 512:
        raise ValueError(f"{device} computes a wrong matrix product.")
    module = torch.get_device_module(device)
    if not hasattr(module, "get_device_properties"):
        return str(device)
    properties = module.get_device_properties(device)
    version = f"CUDA {torch.version.cuda}" if torch.version.cuda else "torch's build"
    return f"{device}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB, {version}"


def _triton() -> CheckResult:
    try:
        import triton
    except ImportError:
        return CheckResult("triton", True, "not installed; for CUDA kernels", absent=True)
    return CheckResult("triton", True, triton.__version__)


def _ops() -> str:
    """Implementation of each op, and why, on the default device and on the CPU."""
    lines = []
    for where in dict.fromkeys((_default_device().type, torch.device("cpu").type)):
        by_selection: dict[Selection, list[str]] = {}
        for module in pkgutil.iter_modules(ops.__path__):
            if module.ispkg:
                implementations = importlib.import_module(f"{ops.__name__}.{module.name}").IMPLEMENTATIONS
                selection = explain_selection(module.name, implementations, torch.device(where))
                by_selection.setdefault(selection, []).append(module.name)
        parts = [f"{name} ({', '.join(names)}), since {reason}" for (name, reason), names in by_selection.items()]
        lines.append(f"{where}: {', '.join(parts)}")
    return "; ".join(lines)


def _shipped_weights() -> str:
    """Raise ValueError or FileNotFoundError if shipped weights are missing or cannot be read."""
    from ..config import load_config
    from ..presets import DEFAULT_PRESET, find_preset

    default = find_preset(DEFAULT_PRESET)
    for name in (default.weights, load_config(default.config).MODEL.MASQCLIP.CLIP.NAME):
        reading.local_weights_path(name)  # raises if the file is missing
    files = sorted(reading.SHIPPED_DIR.glob("*.safetensors"))
    for path in files:
        reading.read_checkpoint(path)
    return ", ".join(f"{reading.SHIPPED_PREFIX}{path.stem}" for path in files)


def _openai_weights() -> CheckResult:
    try:
        present = [name for name in OPENAI_MODELS if openai_file(name).find() is not None]
    except ValueError as error:
        return CheckResult("OpenAI's CLIP", False, str(error))
    if present:
        return CheckResult("OpenAI's CLIP", True, f"on this disk: {', '.join(present)}")
    message = (
        f"none in {cache_dir()} (MASQCLIP_CACHE: another folder); the configurations of real data download "
        f"{_DEFAULT_CLIP} once, see `masqclip download {_DEFAULT_CLIP}`. Shapes needs none"
    )
    return CheckResult("OpenAI's CLIP", True, message, absent=True)


def _open_clip_weights() -> CheckResult:
    """open_clip's models in the cache of this package or of the Hugging Face Hub."""
    import open_clip

    present = []
    for model, tag in open_clip.list_pretrained():
        try:
            file = open_clip_file(f"{model}/{tag}")
        except ValueError:  # not supported
            continue
        try:
            found = file.find()
        except ValueError as error:
            return CheckResult("open_clip's CLIPs", False, str(error))
        if found is not None:
            present.append(f"{OPEN_CLIP_PREFIX}{model}/{tag}")
    if present:
        return CheckResult("open_clip's CLIPs", True, f"on this disk: {_abbreviated(present)}")
    example = "open_clip:ViT-B-16/laion2b_s34b_b88k"
    message = f"none in {cache_dir()}; a CLIP.NAME such as {example} is downloaded there once"
    return CheckResult("open_clip's CLIPs", True, message, absent=True)


def _text_cache() -> CheckResult:
    folder = text_cache_dir()
    if folder is None:
        return CheckResult("text cache", True, "off (MASQCLIP_TEXT_CACHE)", absent=True)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        message = f"{folder} is not writable; set MASQCLIP_TEXT_CACHE to a writable folder or to off."
        return CheckResult("text cache", False, message)
    files = list(folder.glob("*.safetensors"))
    size = sum(path.stat().st_size for path in files) / 2**20
    return CheckResult("text cache", True, f"{folder}: {len(files)} vocabularies, {size:.1f} MiB")


def _datasets() -> CheckResult:
    root = datasets_root().absolute()
    ours = sorted(name for name in DatasetCatalog.list() if name.startswith(_PREFIX))
    present = [name for name in ours if is_present(name)]
    is_set = "DETECTRON2_DATASETS" in os.environ
    origin = "DETECTRON2_DATASETS" if is_set else "the default; DETECTRON2_DATASETS is not set"
    if not present:
        message = f"none of {len(ours)} in {root} ({origin}); datasets/README.md describes how to get and prepare them"
        return CheckResult("datasets", True, message, absent=True)
    message = f"{len(present)} of {len(ours)} in {root} ({origin}): {_abbreviated(present)}"
    return CheckResult("datasets", True, f"{message}; masqclip check-data NAME checks one in detail")


def _optional(name: str, use: str) -> CheckResult:
    if importlib.util.find_spec(name) is None:
        return CheckResult(name, True, f"not installed; {use}", absent=True)
    return CheckResult(name, True, importlib.metadata.version(name))


def _run() -> str:
    """Segment a sample image with the shipped weights."""
    from ..predictor import Predictor

    start = time.monotonic()
    predictor = Predictor()
    image = min(Path(__file__).parents[1].joinpath("shapes", "samples").glob("*.png"))
    segments = predictor(image, _RUN_VOCABULARY, _RUN_STUFF).segments
    if not segments:
        raise RuntimeError(f"the shipped model found no segment in {image}; install masqclip_d2 again.")
    names = _abbreviated(list(dict.fromkeys(segment.label for segment in segments)))
    device = predictor.cfg.MODEL.DEVICE
    return f"{len(segments)} segments ({names}) in {image.name} on {device}, {time.monotonic() - start:.1f} s"


def _abbreviated(names: list[str]) -> str:
    return ", ".join(names[:_MAX_NAMES]) + (f", ... ({len(names)})" if len(names) > _MAX_NAMES else "")
