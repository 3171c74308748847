"""A study's file: its settings, and what is searched, checked against what the network's Specs allow."""

from sweeps.config.duration import parse_duration
from sweeps.config.file import load_study
from sweeps.config.model import StudyConfig
from sweeps.config.sections import (
    Budget,
    Ensemble,
    Final,
    Hyperband,
    Limits,
    Median,
    NoPruner,
    Sampler,
    SuccessiveHalving,
)

__all__ = [
    "Budget",
    "Ensemble",
    "Final",
    "Hyperband",
    "Limits",
    "Median",
    "NoPruner",
    "Sampler",
    "StudyConfig",
    "SuccessiveHalving",
    "load_study",
    "parse_duration",
]
