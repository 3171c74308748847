"""What is wrong with a study, and what mends it: its trials, files, runs and artifacts held against each other."""

from __future__ import annotations

from sweeps.care.doctor.examination import examine
from sweeps.care.doctor.findings import Finding, Report

__all__ = ["Finding", "Report", "examine"]
