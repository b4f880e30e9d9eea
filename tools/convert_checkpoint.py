#!/usr/bin/env python
"""Any weights to safetensors:  python tools/convert_checkpoint.py in.pth out.safetensors --config-file maskclip_r50"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from masqclip_d2.cli.convert_checkpoint import main

if __name__ == "__main__":
    main()
