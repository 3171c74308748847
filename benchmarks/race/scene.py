"""The state of a race as it is shown, built from what the processes report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from benchmarks.race.processes import Finish, Lap, Ready
from benchmarks.race.settings import Settings
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.max_pool2d import MaxPool2DSpec
from mnistnn.network import Network, NetworkSpec
from mnistnn.registry import optimizer, schedule

__all__ = ["LABELS", "Scene", "Track", "describe_network", "verdict"]

LABELS = ("this network", "PyTorch")


@dataclass(slots=True)
class Track:
    """One side's part of the picture.

    Attributes:
        curve: (seconds, accuracy on the curve's test images).
        accuracy: the last that is known; after the finish, of all test images.
    """

    label: str
    detail: str
    steps: int = 0
    seconds: float = 0.0
    accuracy: float | None = None
    finished: bool = False
    curve: list[tuple[float, float]] = field(default_factory=list)


@dataclass(slots=True)
class Scene:
    """A race at one moment.

    Attributes:
        head: lines that say what is raced over.
        goal: the share of test images to get right.
        steps: of the whole training.
        seconds: the length of the time axis, the same for both sides.
    """

    head: list[str]
    goal: float
    steps: int
    seconds: float
    tracks: list[Track]

    @classmethod
    def of(cls, settings: Settings, ready: list[Ready], seed: int, images: int) -> Scene:
        """Returns the scene before the start; the time axis is as long as the slower side's warm-up lets expect."""
        network = Network(settings.network, batch_size=1, initialise=False)
        shown = settings.steps * settings.batch_size / images
        names = (optimizer.name_of(settings.optimizer).title(), schedule.name_of(settings.schedule).replace("_", "-"))
        head = [
            f"MNIST from scratch to {settings.goal:.0%} of the test images · one thread each · seed {seed}",
            f"{describe_network(settings.network)} · {network.param_count:,} params",
            f"{settings.steps} steps of {settings.batch_size} images ({shown:.1f} epochs), {', '.join(names)}; "
            "the clock counts training alone",
        ]
        expected = max(each.step_ms for each in ready) * settings.steps / 1e3
        tracks = [Track(LABELS[each.side], each.detail) for each in ready]
        return cls(head, settings.goal, settings.steps, _axis_end(expected), tracks)

    def take(self, event: Lap | Finish) -> None:
        """Takes in what a side reported."""
        track = self.tracks[event.side]
        track.seconds = event.seconds
        if event.accuracy is not None:
            track.accuracy = event.accuracy
        if isinstance(event, Lap):
            track.steps = event.steps
            if event.accuracy is not None:
                track.curve.append((event.seconds, event.accuracy))
        else:
            track.finished = True
            track.curve.append((event.seconds, event.accuracy))
        if self.seconds < event.seconds:
            self.seconds = _axis_end(event.seconds)


def _axis_end(seconds: float) -> float:
    """Returns a round number of seconds that leaves a little room."""
    unit = 10.0 ** math.floor(math.log10(max(seconds, 1e-3))) / 5
    return unit * float(math.ceil(seconds * 1.03 / unit))


def verdict(scene: Scene) -> str:
    """Returns who won, once both have finished: the sooner of those that reached the goal."""
    if not all(track.finished for track in scene.tracks):
        return ""
    reached = [t for t in scene.tracks if t.accuracy is not None and t.accuracy >= scene.goal]
    if not reached:
        return f"Nobody reached {scene.goal:.0%} with this seed."
    winner = min(reached, key=lambda track: track.seconds)
    (other,) = (track for track in scene.tracks if track is not winner)
    won = f"{winner.label} wins: {winner.accuracy:.2%} after {winner.seconds:.2f} s"
    if other not in reached:
        return f"{won}; {other.label} stayed below {scene.goal:.0%}."
    return f"{won}, {other.seconds / winner.seconds:.2f} times as fast as {other.label}."


def describe_network(spec: NetworkSpec) -> str:
    """Returns the layers that have a size, as "conv 5×5×24, pool, dense 256, batch norm"."""
    names, norm = [], ""
    for layer in spec.layers:
        match layer:
            case BatchNormSpec():
                norm = ", batch norm"
            case Conv2DSpec():
                names.append(f"conv {layer.kernel}×{layer.kernel}×{layer.filters}")
            case MaxPool2DSpec():
                names.append("pool")
            case DenseSpec():
                names.append(f"dense {layer.units}")
    return ", ".join(names) + norm
