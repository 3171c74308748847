"""Whether nets hold when images are shifted, turned, scaled, thick, thin, noisy, or of another source."""

from sweeps.robustness.evaluation import evaluate, held_out, opened_test
from sweeps.robustness.record import Robustness, read_robustness, save_robustness
from sweeps.robustness.variants import GROUPS

__all__ = ["GROUPS", "Robustness", "evaluate", "held_out", "opened_test", "read_robustness", "save_robustness"]
