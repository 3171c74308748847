"""Where the time of a training step goes, part by part, measured on the training itself."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from mnistnn.augment import arrange
from mnistnn.data.dataset import Split
from mnistnn.errors import Stopped
from mnistnn.layer import Layer
from mnistnn.machine import peak_mb, sgemm_gflops
from mnistnn.network import Network
from mnistnn.registry import augmentation, optimizer
from mnistnn.training import Trainer, evaluate
from mnistnn.types import Shape

__all__ = ["WARM_UP", "Part", "Profile", "plan_names", "profile"]

WARM_UP: Final = 5
"""Steps that come before the counted ones: their memory is touched for the first time."""

_QUIET: Final = 0.2  # by which the same product may take longer on a machine that does nothing else
_Key = tuple[str, str]  # a part, and "forward", "backward" or "" where it is neither
_STEP: Final = ("step", "")
_BATCHING, _LOSS, _AVERAGE, _REST = "batching", "softmax + loss", "moving average", "the rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one part of a step takes: a layer, or what is done besides them.

    Attributes:
        name: the layer's, or those of all layers that a fused one does the work of.
        out_shape: of one output; None for what is no layer.
        forward_ms, backward_ms: medians over the steps; None for what has no two ways.
        ms: all of the part.
        share: of the step.
        mflop: the multiplications and additions of its matrix products, both ways, as its definition has them:
            a plan that finds a way round some of them is faster, and has not done less.
        gflops: those by the part's time; None without matrix products.
    """

    name: str
    out_shape: Shape | None = None
    forward_ms: float | None = None
    backward_ms: float | None = None
    ms: float
    share: float
    mflop: float = 0.0
    gflops: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where a step's time goes. **Units**: MB of 10^6 bytes.

    Attributes:
        parts: in the order of their work; their times add up to the step's.
        steps: over how many the medians are.
        batch_size: the images of a step.
        step_ms: the median of whole steps.
        mflop, gflops: of all matrix products of a step, and those by its time.
        sgemm_gflops: what a product of two large float32 matrices reached in the same run, at best.
        sgemm_spread: by what part of that it was slower before the steps than after them, or the other way round.
        epoch_s: what an epoch of `epoch_images` takes at this speed, without validation.
        validation_s: what it takes to validate on all `validation_images`.
        buffers_mb: the network's buffers, params and grads.
        peak_mb: the most memory that the process had.
    """

    parts: tuple[Part, ...]
    steps: int
    batch_size: int
    step_ms: float
    mflop: float
    gflops: float
    sgemm_gflops: float
    epoch_s: float
    epoch_images: int
    validation_s: float
    validation_images: int
    buffers_mb: float
    peak_mb: float
    sgemm_spread: float = 0.0

    @property
    def validation_share(self) -> float:
        """The part of an epoch with its validation that the latter takes."""
        return self.validation_s / (self.epoch_s + self.validation_s)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self) | {"validation_share": self.validation_share}

    def text(self) -> str:
        """Returns a table of the parts, and the figures of the whole below it."""
        head = ("", "output", "forward ms", "backward ms", "ms", "share", "MFLOP", "GFLOP/s")
        total = ("step", "", "", "", f"{self.step_ms:.3f}", _percent(1), f"{self.mflop:,.1f}", f"{self.gflops:.1f}")
        rows = [head, *map(_row, self.parts), total]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        rule = "─" * max(map(len, lines))
        notes = (
            f"medians of {self.steps} steps of {self.batch_size} images; {_percent(self.gflops / self.sgemm_gflops)} "
            f"of the {self.sgemm_gflops:.1f} GFLOP/s that a large sgemm reached in this run",
            f"an epoch of {self.epoch_images:,} images: {self.epoch_s:.2f} s; to validate on "
            f"{self.validation_images:,}: {self.validation_s:.2f} s, {_percent(self.validation_share)} of both",
            f"peak memory: {self.peak_mb:.0f} MB, of which {self.buffers_mb:.0f} MB the network's",
        )
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], *notes, *self._doubts()])

    def _doubts(self) -> Iterator[str]:
        """Yields why the times may be none of this network's own."""
        if self.sgemm_spread > _QUIET:
            yield (
                f"warning: that sgemm was {_percent(self.sgemm_spread)} slower before the steps than after them, or "
                "the other way round: other programs want the cores, so take no time here for true; profile again when "
                "the machine is quiet."
            )
        elif self.gflops > self.sgemm_gflops:
            yield (
                "warning: faster than an sgemm, which only a plan with fewer multiplications can be: unless this one "
                "has 3×3 convolutions, other programs held up that sgemm; profile again when the machine is quiet."
            )


def _row(part: Part) -> tuple[str, ...]:
    def number(value: float | None, digits: int) -> str:
        return f"{value:,.{digits}f}" if value else ""

    shape = "" if part.out_shape is None else " × ".join(map(str, part.out_shape))
    times = (number(value, 3) for value in (part.forward_ms, part.backward_ms, part.ms))
    return part.name, shape, *times, _percent(part.share), number(part.mflop, 1), number(part.gflops, 1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


class _Clocks:
    """Adds up the seconds of each part from step to step.

    Args:
        steps: when so many have been taken, `tick` says that it is enough.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._spent: defaultdict[_Key, float] = defaultdict(float)
        self._since: float | None = None
        self.rows: list[dict[_Key, float]] = []

    def on(self, key: _Key, call: Callable[..., Any]) -> Callable[..., Any]:
        """Returns `call` with a clock on it."""
        spent, now = self._spent, time.perf_counter

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = now()
            result = call(*args, **kwargs)
            spent[key] += now() - began
            return result

        return timed

    def tick(self) -> bool:
        """Ends the step that ran, if one did, and begins the next; says whether there were enough."""
        if self._since is not None:
            self.rows.append({**self._spent, _STEP: time.perf_counter() - self._since})
        self._spent.clear()
        self._since = time.perf_counter()
        return len(self.rows) >= self._steps


def profile(trainer: Trainer, validation: Split, *, steps: int = 100) -> Profile:
    """Trains some steps with a clock on each part. The arithmetic is that of any training: so are the weights.

    Args:
        trainer: a training without validation, which is left after `WARM_UP` and the counted steps, or at its end.
        validation: the images to time a validation on, afterwards.
        steps: how many to count.

    Raises:
        Diverged: a batch's loss was not a finite number.
    """
    network, batch_size = trainer.network, min(trainer.spec.batch_size, trainer.images_per_epoch)
    before = sgemm_gflops()  # its spread tells whether other programs were at work
    clocks = _Clocks(WARM_UP + steps)
    with _clocked(trainer, clocks), contextlib.suppress(Stopped):
        for _ in trainer.fit(clocks.tick):
            pass
        clocks.tick()  # its last step is over
    rows = clocks.rows[WARM_UP:] or clocks.rows
    parts = tuple(_parts(trainer, rows, batch_size))
    step_ms, mflop = _median_ms(row[_STEP] for row in rows), sum(part.mflop for part in parts)
    validation_s = _validation_s(network, validation)
    peak = peak_mb()  # without the matrices that the next line takes
    slow, fast = sorted((before, sgemm_gflops()))
    return Profile(
        sgemm_gflops=fast,
        sgemm_spread=1 - slow / fast,
        parts=parts,
        steps=len(rows),
        batch_size=batch_size,
        step_ms=step_ms,
        mflop=mflop,
        gflops=mflop / step_ms,
        epoch_s=step_ms / 1e3 * trainer.images_per_epoch / batch_size,
        epoch_images=trainer.images_per_epoch,
        validation_s=validation_s,
        validation_images=len(validation),
        buffers_mb=network.nbytes / 1e6,
        peak_mb=peak,
    )


@contextlib.contextmanager
def _clocked(trainer: Trainer, clocks: _Clocks) -> Iterator[None]:
    """Puts a clock on each part of the trainer's steps, and takes it off again."""
    batches, epoch = trainer.batches, trainer.batches.epoch
    gather: Callable[..., Any] = clocks.on((_BATCHING, ""), next)

    def clocked_epoch(rng: np.random.Generator) -> Iterator[Any]:
        left = epoch(rng)
        while (batch := gather(left, None)) is not None:
            yield batch

    # A second augmentation of the same kind counts with the first.
    augmenters = [
        clocks.on((name, ""), each) for name, each in zip(_augmenter_names(trainer), trainer.augmenters, strict=True)
    ]
    with contextlib.ExitStack() as stack:

        def put(owner: Any, name: str, value: Any) -> None:
            if name in vars(owner):
                stack.callback(setattr, owner, name, getattr(owner, name))
            else:  # what its class has
                stack.callback(delattr, owner, name)
            setattr(owner, name, value)

        put(batches, "epoch", clocked_epoch)
        put(trainer, "augmenters", augmenters)
        put(trainer, "update", clocks.on((optimizer.name_of(trainer.spec.optimizer), ""), trainer.update))
        if trainer.average is not None:
            put(trainer.average, "update", clocks.on((_AVERAGE, ""), trainer.average.update))
        names = plan_names(trainer.network)
        for name, owner in [*zip(names, trainer.network.plan, strict=True), (_LOSS, trainer.loss)]:
            for way in ("forward", "backward"):
                put(owner, way, clocks.on((name, way), getattr(owner, way)))
        yield


def _parts(trainer: Trainer, rows: list[dict[_Key, float]], batch_size: int) -> list[Part]:
    """Returns the parts in the order of their work.

    The last is what the step takes besides: a little between the parts, and where other processes have the core at
    times, the pauses, which hit now one part and now another and so show in no median but the whole step's.
    """
    step_ms = _median_ms(row[_STEP] for row in rows)

    def part(name: str, layer: Layer | None = None, mflop: float = 0.0) -> Part:
        ways = [
            _median_ms(row.get((name, way), 0.0) for row in rows) if (name, way) in rows[0] else None
            for way in ("forward", "backward", "")
        ]
        ms = sum(way for way in ways if way is not None)
        return Part(
            name=name,
            out_shape=None if layer is None else layer.out_shape,
            forward_ms=ways[0],
            backward_ms=ways[1],
            ms=ms,
            share=ms / step_ms,
            mflop=mflop,
            gflops=mflop / ms if mflop and ms else None,
        )

    parts = [part(_BATCHING), *map(part, dict.fromkeys(_augmenter_names(trainer)))]
    input_grad = False  # backward passes no gradient to what has no params below it
    for name, layer in zip(plan_names(trainer.network), trainer.network.plan, strict=True):
        products = 3 if input_grad else 2  # forward, by the weights, by the input
        parts.append(part(name, layer, products * 2 * layer.macs * batch_size / 1e6))
        input_grad = input_grad or bool(layer.params)
    parts += [part(_LOSS), part(optimizer.name_of(trainer.spec.optimizer))]
    parts += [part(_AVERAGE)] if trainer.average is not None else []
    rest = step_ms - sum(each.ms for each in parts)
    return [*parts, Part(name=_REST, ms=rest, share=rest / step_ms)]


def _augmenter_names(trainer: Trainer) -> list[str]:
    """Returns a name for each of the trainer's augmenters: "rotation + shear" for one that does the work of both."""
    return [" + ".join(map(augmentation.name_of, group)) for group in arrange(trainer.spec.augment)]


def plan_names(network: Network) -> list[str]:
    """Returns a name for each layer of the network's plan: "conv2d_1 + relu_1" for one that does the work of both."""
    names: list[list[str]] = [[] for _ in network.plan]
    index = 0
    for name, layer in network.layers.items():
        if index + 1 < len(network.plan):
            following = network.plan[index + 1]
            # What is fused begins with a layer that has params, and works on those.
            index += following is layer or any(param in following.params for param in layer.params)
        names[index].append(name)
    return [" + ".join(each) for each in names]


def _validation_s(network: Network, validation: Split) -> float:
    """Returns what a validation takes, from the median of its batches: by the measure that the steps have, too."""
    images, labels = validation.take()
    times = []
    for start in range(0, len(images), network.batch_size):
        rows = slice(start, start + network.batch_size)
        began = time.perf_counter()
        evaluate(network, images[rows], labels[rows])
        times.append((time.perf_counter() - began) / len(labels[rows]))
    return float(np.median(times)) * len(images)


def _median_ms(seconds: Iterable[float]) -> float:
    return float(np.median(np.fromiter(seconds, np.float64))) * 1e3
