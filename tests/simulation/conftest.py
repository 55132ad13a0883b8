"""`controllers` is the product's package, not the folder of their tests, whose parent pytest puts first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
