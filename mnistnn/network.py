"""NetworkSpec → Network: build, forward, backward, predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import DTypeLike

from mnistnn.arena import Arena
from mnistnn.errors import DataError, SpecError
from mnistnn.fusion import fuse
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.losses import softmax
from mnistnn.registry import layer as layer_registry
from mnistnn.types import Floats, Images, Ints, Shape

if TYPE_CHECKING:
    from mnistnn.training import EpochMetrics, TrainingSpec

__all__ = ["IMAGE_SHAPE", "Network", "NetworkSpec", "Snapshot", "child_seed"]

IMAGE_SHAPE: Shape = (28, 28)


def child_seed(seed: int | np.random.SeedSequence, *keys: int) -> np.random.SeedSequence:
    """Returns the seed that `keys` name under `seed`; unlike `spawn` it counts nothing, so a repeat gives the same."""
    base = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.SeedSequence(base.entropy, spawn_key=(*base.spawn_key, *keys))


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network as a list of layers, from pixels to logits (the softmax belongs to the loss and to `predict_proba`)."""

    layers: tuple[LayerSpec, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON and TOML can hold."""
        return {"layers": [layer_registry.to_dict(spec) for spec in self.layers]}

    @classmethod
    def from_dict(cls, values: Any) -> NetworkSpec:
        """Builds what `to_dict` wrote; `values` may be whatever was read.

        Raises:
            SpecError: no list of layers, or one that is not legal.
        """
        layers = values.get("layers") if isinstance(values, Mapping) else None
        if not isinstance(layers, list) or not layers:
            raise SpecError(f"a network must be a table with a list of `layers`, but got {str(values)[:80]}.")
        return cls(tuple(layer_registry.from_dict(spec) for spec in layers))

    def named_layers(self) -> Iterator[tuple[str, LayerSpec]]:
        """Yields each layer with its name: its kind, and which of that kind it is ("conv2d_2")."""
        seen: dict[str, int] = {}
        for spec in self.layers:
            kind = layer_registry.name_of(spec)
            seen[kind] = seen.get(kind, 0) + 1
            yield f"{kind}_{seen[kind]}", spec


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of all that training changes in a network."""

    params: Floats
    states: Floats


class Network:
    """A network at work, with memory for one batch taken once.

    Args:
        spec: its layers.
        batch_size: the largest batch; shorter ones use leading rows.
        seed: what the weights, and the layers that draw, begin from.
        dtype: float32 in work, float64 in gradient checks.
        initialise: False leaves the weights at zero, for who only wants to measure or to load.
        fused: False runs the plain layers one by one instead of the fast plan over them.
        by_name: True seeds each layer by its name instead of its place, so that layers of one name and shape begin
            alike in networks of which only one has a layer more before them.

    Attributes:
        layers: the layers by name.
        plan: what runs, in order: the layers, or fewer that do their work.
        arena: all params, grads and states.

    Raises:
        SpecError: the layers do not fit one another.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        *,
        batch_size: int = 100,
        seed: int | np.random.SeedSequence = 0,
        dtype: DTypeLike = np.float32,
        initialise: bool = True,
        fused: bool = True,
        by_name: bool = False,
    ) -> None:
        if batch_size < 1:
            raise SpecError(f"`batch_size >= 1` must hold, but got {batch_size}.")
        self.spec = spec
        self.batch_size = batch_size
        self.arena = Arena(dtype)
        self.layers: dict[str, Layer] = {}
        context = BuildContext(self.arena, batch_size, input_grad=False)
        buffer_bytes: dict[Layer, int] = {}
        shape = IMAGE_SHAPE
        for index, (name, layer_spec) in enumerate(spec.named_layers()):
            keys = tuple(name.encode()) if by_name else (index,)
            context.name, context.seed = name, child_seed(seed, *keys, 1)
            before = context.buffer_bytes
            built = layer_spec.build(shape, context)
            buffer_bytes[built] = context.buffer_bytes - before
            context.input_grad = context.input_grad or bool(built.params)
            self.layers[name] = built
            shape = built.out_shape
        if context.shortcuts:
            raise SpecError("each fork must be ended by an add, but one is not; put an add behind it, or take it out.")
        if len(shape) != 1:
            raise SpecError(
                f"a network must end in a row of logits, but its last layer gives {shape}; add a dense layer."
            )
        self.classes = shape[0]
        self.arena.allocate()
        plain_layers = list(self.layers.values())
        self.plan = fuse(plain_layers, context) if fused else plain_layers
        # What the plan leaves out was reserved, but is never touched, so the system gives it no memory.
        plain = sum(buffer_bytes.values())
        self._buffer_bytes = context.buffer_bytes - plain + sum(buffer_bytes.get(b, 0) for b in self.plan)
        # Backward stops at the first layer that has params: nothing below it learns.
        first = next((i for i, built in enumerate(self.plan) if built.params), len(self.plan))
        self._backward_order = self.plan[first:][::-1]
        if initialise:
            for index, (name, built) in enumerate(self.layers.items()):
                keys = tuple(name.encode()) if by_name else (index,)
                built.initialise(np.random.Generator(np.random.PCG64(child_seed(seed, *keys, 0))))

    @property
    def param_count(self) -> int:
        """How many numbers are trained."""
        return self.arena.params.size

    @property
    def macs(self) -> int:
        """Multiply-adds of one image's forward pass."""
        return sum(built.macs for built in self.layers.values())

    @property
    def nbytes(self) -> int:
        """The bytes of all buffers, params, grads and states."""
        return self._buffer_bytes + self.arena.nbytes

    @property
    def rngs(self) -> dict[str, np.random.Generator]:
        """The generators of the layers that draw, by the layer's name."""
        return {name: built.rng for name, built in self.layers.items() if built.rng is not None}

    def forward(self, images: Images, *, train: bool = False) -> Floats:
        """Returns the logits of a batch, in a buffer that is good until the next call.

        Shape:
            images: (B, 28, 28), B ≤ batch_size, uint8 or float, in pixel units 0 to 255 → (B, classes)
        """
        x: Any = images
        for built in self.plan:
            x = built.forward(x, train=train)
        logits: Floats = x
        return logits

    def backward(self, dlogits: Floats) -> None:
        """Sets all grads from the gradient by the last training batch's logits. May overwrite `dlogits`."""
        dy = dlogits
        for built in self._backward_order:
            dy = built.backward(dy)

    def predict_proba(self, images: Images) -> Floats:
        """Returns the softmax outputs of any number of images, batch by batch.

        Shape:
            images: (N, 28, 28) in pixel units 0 to 255 → (N, classes)

        Raises:
            DataError: the images have another shape, or are fractions of 1, which all would look black.
        """
        images = cast("Images", np.asarray(images))
        if images.shape[1:] != IMAGE_SHAPE:
            raise DataError(f"images must have the shape (N, 28, 28), but got {images.shape}; reshape them.")
        if images.dtype.kind == "f" and images.size and 0 < images.max() <= 1:
            raise DataError("images must be in pixel units 0 to 255, but got fractions of 1; give them times 255.")
        probs = np.empty((len(images), self.classes), self.arena.dtype)
        for start in range(0, len(images), self.batch_size):
            rows = slice(start, start + self.batch_size)
            softmax(self.forward(images[rows]), out=probs[rows])
        return probs

    def predict(self, images: Images) -> Ints:
        """Returns the likeliest class of each image. Shape: (N, 28, 28) → (N,)."""
        return cast("Ints", self.predict_proba(images).argmax(axis=1))

    def snapshot(self) -> Snapshot:
        """Returns a copy of the params and states as they are now."""
        return Snapshot(self.arena.params.copy(), self.arena.states.copy())

    def restore(self, snapshot: Snapshot) -> None:
        """Puts back what `snapshot` copied."""
        self.arena.params[...] = snapshot.params
        self.arena.states[...] = snapshot.states

    def estimate_states(self, batches: Iterable[Images]) -> None:
        """Sets all running statistics to their plain means over the batches, as the weights are now.

        For weights that no training step has seen, such as averaged ones. The batches go through the network as in
        training, dropout and all; what draws goes on afterwards as if they had not. A network without running
        statistics takes no batch.

        Shape:
            batches: (B, 28, 28) each, B ≤ batch_size, in pixel units
        """
        if not self.arena.states.size:
            return
        norms = [built for built in self.layers.values() if built.momentum is not None]
        momenta = [built.momentum for built in norms]
        draws = {name: rng.bit_generator.state for name, rng in self.rngs.items()}
        self.arena.reset_states()
        try:
            for count, images in enumerate(batches, 1):
                for built in norms:
                    built.momentum = 1 / count
                self.forward(images, train=True)
        finally:
            for built, momentum in zip(norms, momenta, strict=True):
                built.momentum = momentum
            for name, rng in self.rngs.items():
                rng.bit_generator.state = draws[name]

    def fit(
        self,
        images: Images,
        labels: Ints,
        *,
        validation: tuple[Images, Ints] | None = None,
        training: TrainingSpec | None = None,
        seed: int | np.random.SeedSequence = 0,
        progress: bool = True,
    ) -> list[EpochMetrics]:
        """Trains on arrays, with a bar; ends with the best epoch's weights where there is validation data.

        Args:
            images: (N, 28, 28), whole numbers from 0 to 255.
            labels: (N,).
            validation: images and labels to validate on.
            training: how; by default five epochs of Adam, in batches of 100 or the most that the network holds.
            seed: of the shuffling and the augmentation.
            progress: whether to show a tqdm bar.

        Returns:
            The metrics of each epoch.

        Raises:
            DataError: they are not images and labels; fractions too, for all else here takes pixel units.
            SpecError: the training does not fit the network.
            Diverged: a loss was not a finite number.
        """
        from mnistnn.data.dataset import Split
        from mnistnn.training import Trainer, TrainingSpec, follow

        for given in (images,) if validation is None else (images, validation[0]):
            if (dtype := np.asarray(given).dtype).kind == "f":
                raise DataError(
                    f"images to fit must be whole numbers from 0 to 255, but got {dtype}; give them as uint8 "
                    "(fractions times 255)."
                )
        held_out = None if validation is None else Split.of(*validation)
        training = training or TrainingSpec(batch_size=min(100, self.batch_size))
        trainer = Trainer(self, training, Split.of(images, labels), held_out, seed=seed)
        for _ in follow(trainer, progress=progress):
            pass
        trainer.restore_best()
        return trainer.history

    def save(self, path: Path | str) -> str:
        """Writes the weights and the spec to `path` as .npz, for `load_model`, and returns the file's SHA-256."""
        from mnistnn.checkpoint import save_model

        return save_model(path, self)

    def __repr__(self) -> str:
        return f"<Network: {len(self.layers)} layers, {self.param_count:,} parameters, {self.macs:,} MACs an image>"

    def summary(self) -> str:
        """Returns the table of layers: name, output shape, parameters, multiply-adds."""
        rows = [("layer", "output", "params", "MACs")]
        for name, built in self.layers.items():
            shape = " × ".join(map(str, built.out_shape))
            rows.append((name, shape, f"{sum(param.size for param in built.params):,}", f"{built.macs:,}"))
        rows.append(("softmax", str(self.classes), "0", "0"))
        rows.append(("total", "", f"{self.param_count:,}", f"{self.macs:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in rows
        ]
        rule = "─" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
