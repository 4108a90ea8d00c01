"""Print which of the known failures no test covers, wholly or in part, and why: `python3 scripts/soak/failures.py`.

The list is tests/data/failures.toml; nothing but the standard library is needed to read it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.failures import report

if __name__ == "__main__":
    print(report())
