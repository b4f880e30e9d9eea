#!/usr/bin/env python
"""The rows of both papers on Shapes, with seeds:  python tools/shapes_results.py --seeds 0 1 2 --num-gpus 1"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from projects.shapes_results.run import main

if __name__ == "__main__":
    main()
