"""The stock build that the flows are checked against lives with the benchmark that times it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
