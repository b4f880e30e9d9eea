#!/usr/bin/env python
"""Prepare PASCAL VOC 2012 with 20 and 21 categories:  python datasets/prepare_pascal_voc.py --root datasets"""

import sys
from pathlib import Path

# Run from a checkout without installing: the package lies one folder up, `sys.path[0]` is this folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from masqclip_d2.cli.prepare import script

if __name__ == "__main__":
    script("pascal_voc")
