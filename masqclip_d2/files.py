"""Writes files whole or not at all: under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, which becomes `path` if the block succeeds; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_json(path: Path, content: Any) -> None:
    save_text(path, json.dumps(content))


def save_image(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> None:
    """Write a picture in the format of its ending; `options` are those of Pillow's writer."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    with atomic_write(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix], **options)


def link_or_copy(source: Path, path: Path) -> None:
    """The same file under another name where the file system can do that (no space is taken), else a copy."""
    with atomic_write(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
