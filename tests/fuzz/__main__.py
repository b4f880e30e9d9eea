"""`python -m tests.fuzz --minutes 10`: repeat the tests of this folder with new examples until the time is over."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Exit code 1 at the first run with a failure; each run tries 400 examples per test with a new seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("words", nargs="*", help="further arguments of pytest, such as -k weights")
    args, further = parser.parse_known_args()
    end = time.monotonic() + 60 * args.minutes
    seed = int(time.time())
    while True:
        seed += 1
        command = [sys.executable, "-m", "pytest", str(Path(__file__).parent), f"--hypothesis-seed={seed}", "-x"]
        result = subprocess.run(
            [*command, *args.words, *further], env={**os.environ, "MASQCLIP_FUZZ": "1"}, check=False
        )
        if result.returncode:
            sys.exit(1)
        if time.monotonic() > end:
            return


if __name__ == "__main__":
    main()
