"""What a study need not keep, freed."""

from sweeps.care.clean.report import Cleaned
from sweeps.care.clean.study import clean_study

__all__ = ["Cleaned", "clean_study"]
