"""Fonts of this machine for labels in any script, where the font that labels have (DejaVu Sans) lacks a character.

Fonts are searched in the usual folders of Linux, macOS and Windows, first in MASQCLIP_FONTS (a file or folder), Noto
fonts before others. One line names the characters that no font has.
"""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..files import expand_home

FONTS_VARIABLE = "MASQCLIP_FONTS"

_SUFFIXES = (".ttf", ".otf", ".ttc")
_STYLES = (
    "bold", "italic", "oblique", "light", "thin", "black", "medium", "condensed", "mono", "serif", "display", "slanted",
)  # fmt: skip
_PLACEHOLDERS = "lastresort"  # fonts whose glyphs are boxes
_INVISIBLE = ("Cc", "Cf", "Mn", "Zs", "Zl", "Zp")  # Unicode categories, such as joiners and variation selectors

# Character, whether bitmaps will do, MASQCLIP_FONTS -> font file, or "" if none has it: each is searched once.
_font_of: dict[tuple[str, bool, str], str] = {}

logger = logging.getLogger(__name__)


def fonts_of_characters(texts: Iterable[str], bitmaps: bool = False) -> dict[str, str]:
    """Font files for the characters that DejaVu Sans lacks; those that no font has are logged, once, and left out.

    Args:
        texts: labels.
        bitmaps: fonts of color bitmaps will do, such as those of emoji.
    """
    missing = {character for text in texts for character in text if not _is_in_default(character)}
    where = (bitmaps, os.environ.get(FONTS_VARIABLE, ""))
    new = {character for character in missing if (character, *where) not in _font_of}
    if new:
        found = _search(new, *where)
        _font_of.update({(character, *where): found.get(character, "") for character in new})
    fonts = {character: _font_of[(character, *where)] for character in missing}
    return {character: path for character, path in fonts.items() if path}


def use_fonts(artists: Sequence[Any], paths: Iterable[str]) -> None:
    """Give matplotlib's texts the fonts of these files, after DejaVu Sans."""
    from matplotlib import font_manager

    families = ["DejaVu Sans"]
    for path in dict.fromkeys(paths):
        font_manager.fontManager.addfont(path)
        families.append(font_manager.FontProperties(fname=path).get_name())
    for artist in artists:
        artist.set_fontfamily(families)


def _search(characters: set[str], bitmaps: bool, first: str) -> dict[str, str]:
    """The first font file that has it for each of the characters, without those that none has, which are logged."""
    found: dict[str, str] = {}
    for path in _font_files(first):
        wanted = characters - found.keys()
        if not wanted:
            break
        found.update(dict.fromkeys(_drawn_by(path, wanted, bitmaps), str(path)))
    nowhere = sorted(characters - found.keys())
    if nowhere:
        logger.warning(
            "No font on this machine has the characters %s of the labels, which are drawn as boxes. Install one, such "
            "as a Noto font, or set %s to a font file.", " ".join(nowhere), FONTS_VARIABLE,
        )  # fmt: skip
    return found


@cache
def _is_in_default(character: str) -> bool:
    import matplotlib
    from matplotlib.ft2font import FT2Font

    if unicodedata.category(character) in _INVISIBLE:
        return True  # drawn with its neighbors, or not at all
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return FT2Font(str(path)).get_char_index(ord(character)) > 0


def _drawn_by(path: Path, characters: Iterable[str], bitmaps: bool) -> list[str]:
    """Those of the characters that a font has and draws; none for an unreadable font."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(path))
        has = [character for character in characters if font.get_char_index(ord(character))]
        if not has or not font.scalable:
            return has if bitmaps else []
        font.set_size(32, 72)
        # Fonts of layered color glyphs have outlines without size, which are drawn as nothing.
        return [character for character in has if font.load_char(ord(character)).width > 0]
    except (RuntimeError, OSError, ValueError):
        return []


def _font_files(first: str) -> list[Path]:
    """Font files, the most suitable first; `first` is a file or folder that comes before all."""
    files: list[Path] = []
    for folder in ([expand_home(first)] if first else []) + _folders():
        if folder.is_file():
            files.append(folder)
            continue
        inside = [
            Path(root, name)
            for root, _, names in os.walk(folder)
            for name in names
            if name.lower().endswith(_SUFFIXES) and _PLACEHOLDERS not in name.lower()
        ]
        files += sorted(inside, key=_rank)
    return list(dict.fromkeys(files))


def _rank(path: Path) -> tuple:
    name = path.name.lower()
    styles = sum(style in name for style in _STYLES) - ("regular" in name)
    return not name.startswith("noto"), styles, "sans" not in name, name


def _folders() -> list[Path]:
    environ = os.environ
    try:
        home = expand_home("~")
    except FileNotFoundError:
        home = Path("/")
    data = environ.get("XDG_DATA_HOME") or home / ".local/share"
    root = Path(home.anchor)
    shared = [Path(one) for one in environ.get("XDG_DATA_DIRS", "").split(os.pathsep) if one]
    shared += [root / "usr/local/share", root / "usr/share"]
    folders = [home / ".fonts", *(Path(one, "fonts") for one in (data, *shared))]
    folders += [base / "Library/Fonts" for base in (home, root, root / "System")]  # macOS
    if "WINDIR" in environ:
        folders.append(Path(environ["WINDIR"], "Fonts"))
    if "LOCALAPPDATA" in environ:
        folders.append(Path(environ["LOCALAPPDATA"], "Microsoft/Windows/Fonts"))
    return folders
