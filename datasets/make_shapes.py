#!/usr/bin/env python
"""Render the Shapes world:  python datasets/make_shapes.py --output datasets/shapes --seed 0"""

import sys
from pathlib import Path

# Run from a checkout without installing: the package lies one folder up, `sys.path[0]` is this folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from masqclip_d2.cli.make_shapes import main

if __name__ == "__main__":
    main()
