"""What reading a ledger back costs, beside other stores: see `bench/steps.py`, which this starts.

It has the name of the package that it measures, and Python looks for imports beside a script first.
"""

import sys
from pathlib import Path

sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]

from bench.steps import main  # noqa: E402 - found now

if __name__ == "__main__":
    main()
