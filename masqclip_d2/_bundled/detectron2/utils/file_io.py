"""`PathManager`: opens local paths, http(s) URLs and `detectron2://` names; downloads are cached."""

from __future__ import annotations

from typing import Any

from iopath.common.file_io import HTTPURLHandler, PathHandler
from iopath.common.file_io import PathManager as _IoPathManager

__all__ = ["PathHandler", "PathManager"]


class _ModelCatalogHandler(PathHandler):
    """`detectron2://NAME` is NAME on the file server of Detectron2's model zoo."""

    PREFIX = "detectron2://"
    SERVER = "https://dl.fbaipublicfiles.com/detectron2/"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PathManager.get_local_path(self.SERVER + path[len(self.PREFIX) :], force=force, **kwargs)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any):
        return PathManager.open(self._get_local_path(path), mode, buffering, **kwargs)


PathManager: Any = _IoPathManager()  # Any: iopath types open() as IO[str] | IO[bytes], whatever the mode
PathManager.register_handler(HTTPURLHandler())
PathManager.register_handler(_ModelCatalogHandler())
