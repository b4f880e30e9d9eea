"""What the doctor looks at beside packages: Detectron2, devices, ops, weights, caches, datasets, and a run of all."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import shutil
import time
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

from .. import ops
from .._compat import detectron2_backend
from ..checkpoint import reading
from ..clip.pretrained import OPENAI_MODELS, cache_dir, is_torchscript
from ..data.registration import datasets_root
from ..ops.selection import implementation_name
from ..vocabulary.text_cache import text_cache_dir
from .check_result import CheckResult, run_check
from .datasets import is_present

# Imported here, since a package can be installed and still not load: a missing system library, another ABI.
_MODULES = ("torchvision", "cv2", "scipy.optimize", "pycocotools.mask", "fvcore.nn", "open_clip")
_OPTIONAL = {"lvis": "evaluation on LVIS needs it: pip install --no-deps lvis"}
_USUAL_CLIP = "ViT-L/14@336px"
_PREFIX = "masqclip_"
_FEW = 6  # names that a line shows
_RUN_WORDS = "striped circle,dotted star,plain cross,ringed square"
_RUN_STUFF = "grass,sand,water"


def check_installation(run: bool = True) -> list[CheckResult]:
    """Everything in order; `run`: also segment a sample image with the weights that ship."""
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
        *(_optional(name, why) for name, why in _OPTIONAL.items()),
    ]
    return [*results, run_check("run", _run)] if run else results


def _imports() -> str:
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken binary raises anything
            raise ImportError(f"{name} is installed but cannot be imported ({error}); install it again.") from error
    return ", ".join(_MODULES)


def _detectron2() -> str:
    backend, choice = detectron2_backend(), os.environ.get("MASQCLIP_D2", "auto")
    if choice != "auto":
        why = f"as MASQCLIP_D2={choice} says"
    elif backend.kind == "real":
        why = "it can be imported, so the bundled subset is not used"
    else:
        why = "no other can be imported; a checkout of facebookresearch/detectron2 on PYTHONPATH would be used"
    return f"{backend}: {why}"


def _devices() -> list[CheckResult]:
    if not torch.accelerator.is_available():
        return [run_check("device", _cpu_alone)]
    kind = torch.accelerator.current_accelerator().type
    return [
        run_check("device", lambda index=index: _accelerator(torch.device(kind, index)))
        for index in range(torch.accelerator.device_count())
    ]


def _cpu_alone() -> str:
    """Raises ValueError if there is an NVIDIA driver that torch does not get to use."""
    build = torch.version.cuda
    if shutil.which("nvidia-smi") and build is None:
        raise ValueError(
            f"torch {torch.__version__} was built without CUDA, though this machine has NVIDIA's driver; install a "
            "build for it (pytorch.org says how), or go on with the CPU."
        )
    built = f"torch is built for CUDA {build}" if build else "torch is built without CUDA"
    return f"CPU, {torch.get_num_threads()} threads; no GPU is there ({built})"


def _accelerator(device: torch.device) -> str:
    """Runs a product there: a GPU that is too new or too old for the build fails only then."""
    ones = torch.ones(8, 8, device=device)
    if (ones @ ones).sum().item() != 512:
        raise ValueError(f"{device} computes wrong numbers.")
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
        return CheckResult("triton", True, "is not installed; kernels for CUDA would need it", absent=True)
    return CheckResult("triton", True, triton.__version__)


def _ops() -> str:
    """Which form of each op runs where."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    lines = []
    for where in dict.fromkeys((torch.device("cpu").type, device.type)):
        forms: dict[str, list[str]] = {}
        for module in pkgutil.iter_modules(ops.__path__):
            if module.ispkg:
                implementations = importlib.import_module(f"{ops.__name__}.{module.name}").IMPLEMENTATIONS
                form = implementation_name(module.name, implementations, torch.device(where))
                forms.setdefault(form, []).append(module.name)
        lines.append(f"{where}: " + ", ".join(f"{form} ({', '.join(names)})" for form, names in forms.items()))
    asked = os.environ.get("MASQCLIP_OPS")
    return "; ".join(lines) + (f"; MASQCLIP_OPS={asked}" if asked else "")


def _shipped_weights() -> str:
    """Raises ValueError or FileNotFoundError if the package lacks them, or they cannot be read."""
    from ..config import load_config
    from ..predictor import DEFAULT_CONFIG, DEFAULT_WEIGHTS

    for name in (DEFAULT_WEIGHTS, load_config(DEFAULT_CONFIG).MODEL.MASQCLIP.CLIP.NAME):
        reading.local_weights_path(name)  # whether it is there
    files = sorted(reading.SHIPPED_DIR.glob("*.safetensors"))
    for path in files:
        reading.read_checkpoint(path)
    return ", ".join(f"{reading.SHIPPED_PREFIX}{path.stem}" for path in files)


def _openai_weights() -> CheckResult:
    folder = cache_dir()
    files = {name: folder / model["url"].rsplit("/", 1)[1] for name, model in OPENAI_MODELS.items()}
    there = {name: path for name, path in files.items() if path.is_file()}
    damaged = [str(path) for path in there.values() if not is_torchscript(path)]
    if damaged:
        return CheckResult(
            "OpenAI's CLIP", False, f"{damaged[0]} is damaged or incomplete; remove it and download it again."
        )
    if there:
        return CheckResult("OpenAI's CLIP", True, f"{', '.join(there)} in {folder}")
    text = (
        f"none in {folder}; the configurations of real data download {_USUAL_CLIP} once, or put "
        f"{OPENAI_MODELS[_USUAL_CLIP]['url']} there (MASQCLIP_CACHE names another folder). Shapes needs none"
    )
    return CheckResult("OpenAI's CLIP", True, text, absent=True)


def _open_clip_weights() -> CheckResult:
    """Looks for the folders of the hub's cache; which file is in them is open_clip's affair."""
    import open_clip
    from huggingface_hub.constants import HF_HUB_CACHE

    there = []
    for name, tag in open_clip.list_pretrained():
        hub = (open_clip.get_pretrained_cfg(name, tag).get("hf_hub") or "").strip("/")
        snapshots = Path(HF_HUB_CACHE, f"models--{hub.replace('/', '--')}", "snapshots")
        if hub and snapshots.is_dir() and any(snapshots.iterdir()):
            there.append(f"open_clip:{name}/{tag}")
    if there:
        return CheckResult("open_clip's CLIPs", True, f"{_some(there)} in {HF_HUB_CACHE}")
    text = f"none in {HF_HUB_CACHE}; a CLIP.NAME such as open_clip:ViT-B-16/laion2b_s34b_b88k is downloaded there once"
    return CheckResult("open_clip's CLIPs", True, text, absent=True)


def _text_cache() -> CheckResult:
    folder = text_cache_dir()
    if folder is None:
        return CheckResult("text cache", True, "off (MASQCLIP_TEXT_CACHE)", absent=True)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        text = f"{folder} cannot be written to; set MASQCLIP_TEXT_CACHE to a folder that can, or to off."
        return CheckResult("text cache", False, text)
    files = list(folder.glob("*.safetensors"))
    size = sum(path.stat().st_size for path in files) / 2**20
    return CheckResult("text cache", True, f"{folder}: {len(files)} vocabularies, {size:.1f} MiB")


def _datasets() -> CheckResult:
    root = datasets_root().absolute()
    ours = sorted(name for name in DatasetCatalog.list() if name.startswith(_PREFIX))
    there = [name for name in ours if is_present(name)]
    said = (
        "DETECTRON2_DATASETS" if "DETECTRON2_DATASETS" in os.environ else "the default; DETECTRON2_DATASETS is not set"
    )
    if not there:
        text = f"none of {len(ours)} in {root} ({said}); datasets/README.md says how to get and prepare them"
        return CheckResult("datasets", True, text, absent=True)
    text = f"{len(there)} of {len(ours)} in {root} ({said}): {_some(there)}"
    return CheckResult("datasets", True, f"{text}; masqclip check-data NAME checks one in detail")


def _optional(name: str, why: str) -> CheckResult:
    if importlib.util.find_spec(name) is None:
        return CheckResult(name, True, f"is not installed; {why}", absent=True)
    return CheckResult(name, True, importlib.metadata.version(name))


def _run() -> str:
    """From an image and words to segments, by the weights that ship."""
    from ..predictor import Predictor

    start = time.monotonic()
    predictor = Predictor()
    image = min(Path(__file__).parents[1].joinpath("shapes", "samples").glob("*.png"))
    segments = predictor(image, _RUN_WORDS, _RUN_STUFF).segments
    if not segments:
        raise RuntimeError(f"the shipped model finds nothing in {image}; install masqclip_d2 again.")
    names = _some(list(dict.fromkeys(segment.label for segment in segments)))
    device = predictor.cfg.MODEL.DEVICE
    return f"{len(segments)} segments ({names}) in {image.name} on {device}, {time.monotonic() - start:.1f} s"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_FEW]) + (f", ... ({len(names)})" if len(names) > _FEW else "")
