"""The weights that the model of a configuration needs: found, or downloaded before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..checkpoint import local_weights_path
from ..checkpoint.reading import SHIPPED_PREFIX
from ..clip.pretrained import clip_path, weight_file
from ..hub import PlaceError, WeightFile, is_offline, is_remote
from ..proposer import proposer_class
from .build import model_class
from .mask_distiller import MaskDistiller
from .open_vocabulary import OpenVocabularySegmenter

WEIGHTS_KEY = "MODEL.WEIGHTS"
TEACHER_KEY = "MODEL.MASQCLIP.DISTILLATION.TEACHER"
CLIP_KEY = "MODEL.MASQCLIP.CLIP.NAME"


class RequiredWeights(NamedTuple):
    """One value of a configuration that names weights."""

    key: str
    source: str
    file: WeightFile | None
    """How to download it; None: the source is a path, or shipped with the package."""
    path: Path | None
    """The file on this disk; None: there is none."""


def required_weights(cfg, training: bool = False, resumes: bool = False) -> list[RequiredWeights]:
    """The weights that a model needs, in the order in which they are loaded.

    Args:
        cfg: the configuration. CLIPs of another builder than PretrainedClip, and sources that only Detectron2's
            PathManager resolves, are left out.
        training: include the teacher of Progressive Distillation.
        resumes: a checkpoint of an interrupted run replaces MODEL.WEIGHTS.

    Raises:
        ImportError: the proposer needs a package that is not installed.
        ValueError: an unknown meta-architecture or proposer, a name or source that cannot exist, or a damaged file in
            the cache.
    """
    kind, own = model_class(cfg), cfg.MODEL.MASQCLIP
    sources: dict[str, list[str]] = {}
    if isinstance(kind, type) and issubclass(kind, OpenVocabularySegmenter):
        if own.CLIP.BUILDER == "PretrainedClip":
            sources[CLIP_KEY] = [own.CLIP.NAME]
        sources |= proposer_class(cfg).own_weights(cfg)
    distills = training and isinstance(kind, type) and issubclass(kind, MaskDistiller)
    if not resumes or (distills and not own.DISTILLATION.TEACHER):
        sources[WEIGHTS_KEY] = [cfg.MODEL.WEIGHTS]
    if distills:
        sources[TEACHER_KEY] = [own.DISTILLATION.TEACHER]
    rows = [(key, source) for key, of_key in sources.items() for source in of_key]
    return [_look_for(key, source) for key, source in rows if source and not _is_other_scheme(source)]


def fetch_required_weights(cfg, training: bool = False, resumes: bool = False) -> None:
    """Download the weights that are not on this disk, unless some of them cannot be had.

    Args:
        cfg, training, resumes: see `required_weights`.

    Raises:
        FileNotFoundError: weights are missing; nothing was downloaded, and the message lists all that are missing.
        ValueError: see `required_weights`.
    """
    missing = [each for each in required_weights(cfg, training, resumes) if each.path is None]
    if len(missing) > 1 and (problems := _problems(missing)):
        raise FileNotFoundError(
            f"Weights are missing on this disk: {'; '.join(problems)}. `masqclip download NAME` stores those that have "
            "an address in MASQCLIP_CACHE, which may be copied from another machine."
        )
    for each in missing:
        _locate(each.key, each.source)


def _look_for(key: str, source: str) -> RequiredWeights:
    file = weight_file(source) if key == CLIP_KEY or is_remote(source) else None
    if file is not None:
        return RequiredWeights(key, source, file, file.find())
    try:
        return RequiredWeights(key, source, None, _locate(key, source))
    except FileNotFoundError:
        return RequiredWeights(key, source, None, None)


def _locate(key: str, source: str) -> Path:
    """The local file, downloaded if necessary; FileNotFoundError with advice for this key if it cannot be had."""
    return clip_path(source) if key == CLIP_KEY else local_weights_path(source)


def _is_other_scheme(source: str) -> bool:
    """Whether only Detectron2's PathManager, which would download the file, resolves a source."""
    return "://" in source and not is_remote(source) and not source.startswith(SHIPPED_PREFIX)


def _problems(missing: list[RequiredWeights]) -> list[str]:
    """One clause about each of the missing weights; [] if servers have all of them."""
    can_download = not is_offline() and all(each.file is not None for each in missing)
    clauses, failed = [], not can_download
    unreachable: set[str] = set()
    for key, source, file, _ in missing:
        if file is None:
            clauses.append(f"{key} {source} (no such file)")
            continue
        reason = "HF_HUB_OFFLINE forbids downloads" if is_offline() else "can be downloaded"
        if can_download:
            try:
                file.size_on_server(unreachable)
            except PlaceError as error:
                failed, reason = True, str(error)
        looked_at = ", ".join(map(str, file.looked_at()))
        clauses.append(f"{key} {source} (looked at {looked_at}; {reason})")
    return clauses if failed else []
