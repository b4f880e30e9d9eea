#!/usr/bin/env python
"""Numbers from saved predictions:  python tools/evaluate_predictions.py output/masqclip_r50"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from masqclip_d2.cli.evaluate_predictions import main

if __name__ == "__main__":
    main()
