#!/usr/bin/env python
"""Look at the installation:  python tools/doctor.py. Works, for the packages, where masqclip_d2 cannot be imported."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    try:
        from masqclip_d2.cli.doctor import main
    except ImportError as error:
        for name, right, text in runpy.run_path(str(ROOT / "masqclip_d2" / "diagnostics" / "requirements.py"))[
            "package_states"
        ]():
            print(f"  {'ok' if right else 'WRONG':5}  {name}  {text}")
        print(f"  WRONG  masqclip_d2 cannot be imported: {error}")
        sys.exit(1)
    main()
