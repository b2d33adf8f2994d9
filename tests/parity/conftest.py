import sys
from pathlib import Path

# `codes` and `weights` are used by tests in several folders.
sys.path.insert(0, str(Path(__file__).parents[1]))
