"""One optimizer a file. They see flat vectors only."""

from mnistnn.optimizers._base import OptimizerSpec, State

__all__ = ["OptimizerSpec", "State"]
