"""Weights by name: find them on this disk, or download them from the first server that delivers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .content import content_problem
from .http import PlaceError, open_place
from .places import Place, is_offline, place_of
from .records import check_stored
from .transfer import StorageError, download

T = TypeVar("T")


@dataclass(frozen=True)
class WeightFile:
    """Weights that several places may have, in several formats.

    Args:
        name: as users write it, such as "ViT-L/14@336px" or "hf://owner/repo/model.pth".
        places: the preferred one first.
    """

    name: str
    places: tuple[Place, ...]

    @classmethod
    def of(cls, source: str) -> WeightFile:
        """The file that one source names; ValueError as in `place_of`."""
        return cls(source, (place_of(source),))

    def find(self, thorough: bool = False) -> Path | None:
        """The file on this disk, or None.

        Args:
            thorough: check the sha256 of a stored file even if its size and time of modification are as recorded.

        Raises:
            ValueError: a stored file is damaged, was changed, or is no weights.
        """
        for place in self.places:
            if place.path.is_file():
                check_stored(place.path, self.name, place.sha256, thorough)
                return place.path
        return next((path for path in self._elsewhere() if path.is_file() and not content_problem(path)), None)

    def fetch(self, again: bool = False) -> Path:
        """The file on this disk, downloaded if necessary.

        Args:
            again: download it even if it is there.

        Raises:
            FileNotFoundError: it is not on this disk and no place delivers it; the message has all of them.
            ValueError: see `find`.
        """
        found = None if again else self.find()
        if found is not None:
            return found
        if is_offline():
            raise FileNotFoundError(self.missing_message("HF_HUB_OFFLINE forbids downloads"))
        try:
            return self._first(lambda place: download(place, again))
        except PlaceError as error:
            raise FileNotFoundError(self.missing_message(str(error))) from error
        except StorageError as error:
            raise FileNotFoundError(f"{self.name} could not be stored: {error}.") from error

    def size_on_server(self, unreachable: set[str] | None = None) -> int | None:
        """Number of bytes that a download takes, by asking the servers; None if the one that has it does not say.

        Args:
            unreachable: hosts that are not asked; those that do not answer are added.

        Raises:
            PlaceError: no place has it; the message has all reasons.
        """
        return self._first(_size_on_server, unreachable)

    def _first(self, ask: Callable[[Place], T], unreachable: set[str] | None = None) -> T:
        """Result of the first place that does not raise PlaceError; PlaceError with all reasons if there is none."""
        reasons: list[str] = []
        unreachable = set() if unreachable is None else unreachable
        for place in self.places:
            if place.host in unreachable:
                reasons.append(f"{place.host} cannot be reached")
                continue
            try:
                return ask(place)
            except PlaceError as error:
                reasons.append(f"{place.requested_url}: {error}")
                if error.unreachable:
                    unreachable.add(place.host)
        raise PlaceError("; ".join(dict.fromkeys(reasons)))

    def looked_at(self) -> list[Path]:
        """Where `find` looks: the first file, and the folders of the others."""
        paths = [*(place.path for place in self.places), *self._elsewhere()]
        return list(dict.fromkeys([paths[0], *(path.parent for path in paths[1:])]))

    def missing_message(self, reason: str) -> str:
        """One line: where the file was looked for, why it was not downloaded, and where to put it."""
        looked_at = ", ".join(map(str, self.looked_at()))
        first = self.places[0]
        return (
            f"{self.name} is not on this disk (looked at {looked_at}) and could not be downloaded ({reason}). Download "
            f"{first.url} on a connected machine and put the file at {first.path}, or set MASQCLIP_CACHE to the folder "
            "that has it."
        )

    def _elsewhere(self) -> list[Path]:
        """Files of other programs."""
        return [path for place in self.places for path in (*place.elsewhere, *_hub_cache(place))]


def _size_on_server(place: Place) -> int | None:
    with open_place(place, end=0) as answer:
        return answer.facts.size


def _hub_cache(place: Place) -> list[Path]:
    """The file in the cache of huggingface_hub if it is there, else where it would be."""
    if place.hub_file is None:
        return []
    from huggingface_hub import constants, try_to_load_from_cache

    repo, filename, revision = place.hub_file.repo, place.hub_file.filename, place.hub_file.revision
    cached = try_to_load_from_cache(repo, filename, revision=revision)
    if isinstance(cached, str):
        return [Path(cached)]
    return [Path(constants.HF_HUB_CACHE, f"models--{repo.replace('/', '--')}", "snapshots", revision, filename)]
