#!/usr/bin/env python
"""From the first stage to the numbers:  python tools/run_stages.py configs/masqclip_r50.yaml --num-gpus 8"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from masqclip_d2.cli.run_stages import main

if __name__ == "__main__":
    main()
