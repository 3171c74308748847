"""One optimizer a file. They see flat vectors only."""

from mnistnn.optimizers._base import BLOCK, OptimizerSpec, State

__all__ = ["BLOCK", "OptimizerSpec", "State"]
