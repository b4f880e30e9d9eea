"""Names of files on servers, and the paths that they have on this disk.

Sources:
    https://HOST/PATH, http://HOST/PATH
    hf://OWNER/REPO/FILE[@REVISION]    a model file of the Hugging Face Hub (or of the mirror HF_ENDPOINT)
    detectron2://PATH                  a file of Detectron2's model zoo

With MASQCLIP_MIRROR, all files are requested from that server, which has them under HOST/PATH.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from ..files import expand_home

HUB_PREFIX = "hf://"
ZOO_PREFIX = "detectron2://"
ZOO_SERVER = "https://dl.fbaipublicfiles.com/detectron2/"
PREFIXES = ("https://", "http://", HUB_PREFIX, ZOO_PREFIX)
HUB_EXAMPLE = "hf://OWNER/REPO/FILE or hf://OWNER/REPO/FILE@REVISION"

# torch.hub's convention, which open_clip's releases follow too: the name ends in the first digits of the sha256.
_TORCH_SERVER = "download.pytorch.org"
_NAMED_BY_SHA256 = (_TORCH_SERVER, "github.com/mlfoundations")
_SHA256_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"  # that an address may contain; others, such as spaces, are encoded
_UNSAFE = re.compile(r"[^\w.@+=-]", re.ASCII)


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository on the Hugging Face Hub."""

    repo: str  # "owner/name"
    filename: str
    revision: str  # branch, tag or commit


@dataclass(frozen=True)
class Place:
    """One server that has a file.

    Args:
        source: the name of the file as users write it.
        url: its address; see `requested_url`.
        cached_as: its path below `cache_dir()`.
        sha256: hexadecimal digits that its sha256 begins with, "" if not known beforehand.
        hub_file: set if the server is the Hugging Face Hub.
        elsewhere: files of other programs that hold the same content if they exist.
    """

    source: str
    url: str
    cached_as: PurePosixPath
    sha256: str = ""
    hub_file: HubFile | None = None
    elsewhere: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        """Where the file is stored."""
        return cache_dir() / self.cached_as

    @property
    def requested_url(self) -> str:
        """The address that is asked: `url`, or HOST/PATH of it below MASQCLIP_MIRROR."""
        mirror = os.environ.get("MASQCLIP_MIRROR", "").rstrip("/")
        return f"{mirror}/{self.url.partition('://')[2]}" if mirror else self.url

    @property
    def host(self) -> str:
        """The server that is asked."""
        return urlsplit(self.requested_url).netloc


def cache_dir() -> Path:
    """Folder of downloaded files: MASQCLIP_CACHE, else masqclip_d2/weights in the user's cache (XDG_CACHE_HOME)."""
    chosen = os.environ.get("MASQCLIP_CACHE")
    return expand_home(chosen) if chosen else user_cache() / "masqclip_d2" / "weights"


def user_cache() -> Path:
    """XDG_CACHE_HOME, else ~/.cache; FileNotFoundError if there is no home folder."""
    return expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def is_offline() -> bool:
    """Whether the variables HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbid every download."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in values)


def hub_endpoint() -> str:
    """Address of the Hugging Face Hub: HF_ENDPOINT, else the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_remote(source: str) -> bool:
    """Whether a source is on a server, by its prefix."""
    return source.startswith(PREFIXES)


def place_of(source: str, sha256: str = "") -> Place:
    """The place that a source names; `sha256` if it is known.

    Raises:
        ValueError: the source has no file name, or the prefix of none of `PREFIXES`.
    """
    if source.startswith(HUB_PREFIX):
        return _hub_place(source, sha256)
    if not is_remote(source):
        raise ValueError(f"{source!r} is no source of a file; expected one of {', '.join(PREFIXES)}")
    url = ZOO_SERVER + source.removeprefix(ZOO_PREFIX) if source.startswith(ZOO_PREFIX) else source
    url = quote(url, safe=_URL_CHARACTERS)
    parts = urlsplit(url)
    name = unquote(parts.path.rsplit("/", 1)[-1])
    if not parts.hostname or not name or parts.username:
        raise ValueError(f"{source!r} is not the address of a file: expected a host, a path, and no user name.")
    if not sha256 and f"{parts.netloc}{parts.path}".startswith(_NAMED_BY_SHA256):
        found = _SHA256_IN_NAME.search(name)
        sha256 = found[1] if found else ""
    return Place(source, url, _cached_as(url), sha256, elsewhere=_other_caches(url, name))


def _hub_place(source: str, sha256: str) -> Place:
    owner, _, rest = source.removeprefix(HUB_PREFIX).partition("/")
    repo, _, filename = rest.partition("/")
    if "@" in repo:  # as huggingface_hub writes it: hf://owner/repo@revision/file
        repo, _, revision = repo.partition("@")
    else:
        path, at, last = filename.rpartition("@")
        filename, revision = (path, last) if at else (filename, "main")
    if not (owner and repo and revision) or not filename or ".." in f"{repo}/{filename}/{revision}".split("/"):
        raise ValueError(f"{source!r} does not name a file of the Hugging Face Hub; expected {HUB_EXAMPLE}.")
    url = f"{hub_endpoint()}/{owner}/{repo}/resolve/{quote(revision, safe='')}/{quote(filename)}"
    folders = (owner, repo, revision.replace("/", "--"))
    cached_as = PurePosixPath("hf", *map(_safe, folders), *map(_safe, filename.split("/")))
    return Place(source, url, cached_as, sha256, HubFile(f"{owner}/{repo}", filename, revision))


def _cached_as(url: str) -> PurePosixPath:
    """HOST/PATH; addresses that differ otherwise (a query, characters that are unsafe in paths) differ by a digest."""
    parts = urlsplit(url)
    folders = [unquote(part) for part in parts.path.split("/") if part]
    path = PurePosixPath(*map(_safe, folders))
    if parts.query or list(path.parts) != folders:
        digest = hashlib.sha256(url.encode()).hexdigest()[:8]
        path = path.with_name(f"{path.stem}-{digest}{path.suffix}")
    return PurePosixPath(_safe(parts.netloc)) / path


def _safe(part: str) -> str:
    """`part` as the name of one file or folder."""
    name = _UNSAFE.sub("_", part)
    return "_" if name in ("", ".", "..") else name


def _other_caches(url: str, name: str) -> tuple[Path, ...]:
    """Where Detectron2 (iopath) and torch.hub store the file of this address."""
    parts = urlsplit(url)
    known = []
    with contextlib.suppress(FileNotFoundError):  # there is no home folder
        if not parts.query and ".." not in parts.path:
            known.append(
                expand_home(os.environ.get("FVCORE_CACHE") or "~/.torch/iopath_cache") / parts.path.lstrip("/")
            )
        if parts.hostname == _TORCH_SERVER:
            torch_home = expand_home(os.environ.get("TORCH_HOME") or user_cache() / "torch")
            known.append(torch_home / "hub" / "checkpoints" / name)
    return tuple(known)
