#!/usr/bin/env python
"""Segment images by any category names:  python demo/demo.py --vocab "striped circle,dotted star" --stuff "grass" """

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a checkout that is not installed works as well

from masqclip_d2.cli.demo import main

if __name__ == "__main__":
    main()
