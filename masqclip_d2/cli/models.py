"""The verb `models`: the presets, with sizes, licenses, what they need, and whether their files are on this disk."""

from __future__ import annotations

import argparse
import json

from .command import Command

_EPILOG = """examples:
  masqclip models
  masqclip download photos
  masqclip demo --model photos --input photo.jpg --vocab "dog,ball" --stuff "grass,sky"
Nothing is said here about accuracy on photographs that was not measured: docs/models.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable, one object per model")


def run(args: argparse.Namespace) -> None:
    from ..presets import PRESETS, is_ready, missing_files

    rows = []
    for preset in PRESETS.values():
        rows.append(
            {
                "name": preset.name,
                "masks": preset.masks,
                "masks_license": preset.license,
                "clip": preset.clip,
                "clip_license": preset.clip_license,
                "download_mb": preset.download,
                "needs": preset.needs or preset.to_install,
                "on_this_disk": is_ready(preset),
                "missing_files": missing_files(preset),
            }
        )
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['name']:20} {_state(row)}")
        print(f"{'':20} masks: {row['masks']}; {row['masks_license']}")
        print(f"{'':20} CLIP:  {row['clip']}; {row['clip_license']}")


def _state(row: dict) -> str:
    if row["on_this_disk"]:
        return "ready: on this disk"
    size = f"{row['download_mb'] / 1000:.1f} GB" if row["download_mb"] >= 1000 else f"{row['download_mb']} MB"
    parts = [f"needs {row['needs']}"] if row["needs"] else []
    if row["missing_files"]:
        parts.append(f"downloads up to {size} at first use")
    return "; ".join(parts) or "ready"


main = Command("models", "List the models that can be used by name.", add_arguments, run, _EPILOG)

if __name__ == "__main__":
    main()
