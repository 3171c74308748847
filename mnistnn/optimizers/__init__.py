"""One optimizer a file. They see flat vectors only."""

from mnistnn.optimizers._base import BLOCK, OptimizerSpec, State, blocks

__all__ = ["BLOCK", "OptimizerSpec", "State", "blocks"]
