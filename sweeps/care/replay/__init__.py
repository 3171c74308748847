"""`replay`: a trial trained again from its record, and held against what was recorded."""

from sweeps.care.replay.again import replay_trial
from sweeps.care.replay.report import Replay

__all__ = ["Replay", "replay_trial"]
