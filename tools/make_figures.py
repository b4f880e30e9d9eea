#!/usr/bin/env python
"""The pictures of README and docs from weights:  python tools/make_figures.py --docs docs/figures"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from projects.figures.make_figures import main

if __name__ == "__main__":
    main()
