"""Space: the walk from a study's domains to one architecture and one training, in an order that never changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mnistnn import presets
from mnistnn.architecture import Block, ConvNet
from mnistnn.domains import Choice, Domain, FloatRange, domains_of
from mnistnn.errors import SpecError
from mnistnn.network import IMAGE_SHAPE, Network
from mnistnn.recipe import Recipe
from mnistnn.spec import Spec
from mnistnn.training import TrainingSpec
from sweeps.config import StudyConfig
from sweeps.config.legal import AUGMENT, BLOCK, MAX_BLOCKS, NET, NONE, TRAINING, USE, Slot, flatten, slots
from sweeps.config.search import settled
from sweeps.study.augmented import spelled, used
from sweeps.study.labels import architecture_label, plain_columns
from sweeps.study.workload import Counts, Workload, epoch_workload, image_counts

if TYPE_CHECKING:
    import optuna

__all__ = ["NEEDS", "Space", "Suggest", "Values"]

Values: TypeAlias = dict[str, Any]
"""A trial's choices by plain name: "filters_1", "adam.learning_rate"; only numbers, strings and booleans."""

Suggest: TypeAlias = Callable[[str, Domain], Any]

#: What is only asked where it means something: where one of these is not 0.
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "padding": ("blocks",),
    "pooling": ("blocks",),
    "extra": ("blocks",),
    "block_dropout": ("blocks",),
    "global_pool": ("blocks",),
    "dense_dropout": ("dense_units",),
    "activation": ("blocks", "dense_units"),
    "norm": ("blocks", "dense_units"),
}
_SMALLEST_POOLED = 4
# Of a block, what is not asked of each.
_HALVING = ("stride", "pool")
_RESIDUAL = "residual"

# What a worker takes besides its network: Python, NumPy, Optuna and the pages of the images that it has read.
_WORKER_MB = 130
# Vectors as long as the params, besides those of the network: the optimizer's two, the best epoch's copy.
_EXTRA_VECTORS = 3
# And those of a training with a moving average: this, and the training's own params while it is validated.
_AVERAGE_VECTORS = 2


class Space:
    """What a study searches.

    Args:
        config: the study.
    """

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self._domains = config.search_space().domains
        self._limits = config.limits
        self._known: dict[tuple[Any, ...], tuple[str | None, Counts | None]] = {}

    @property
    def domains(self) -> Mapping[str, Domain]:
        """What each name may be in this study; what is fixed is a choice of one."""
        return self._domains

    @property
    def searched(self) -> dict[str, Domain]:
        """All names that a trial may be asked for, with their domains, in an order that never changes."""
        blocks = self._domains["blocks"]
        most = max(blocks.values) if isinstance(blocks, Choice) else blocks.high
        beyond = {f"{name}_{number}" for name in BLOCK for number in range(int(most) + 1, MAX_BLOCKS + 1)}
        return {name: domain for name, domain in self._domains.items() if name not in beyond and not settled(domain)}

    def walk(self, suggest: Suggest, overrides: Mapping[str, Any] | None = None) -> Values:
        """Chooses a value for each name that means something, what depends on others after them.

        Args:
            suggest: gives a value of the domain for the name; it is not asked where only one value is left.
            overrides: values that hold instead, whether they lie in the space or not.

        Returns:
            All values, those that were not asked for included.
        """
        overrides = overrides or {}

        def resolve(name: str, default: Any) -> Any:
            if name in overrides:
                return overrides[name]
            domain = self._domains.get(name)
            if domain is None:  # a field of a Spec that is only here by an override
                return default
            return domain.values[0] if isinstance(domain, Choice) and settled(domain) else suggest(name, domain)

        return self._walk(resolve)

    def values(self, given: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Values:
        """Returns all values of a trial from those that were asked for, as Optuna keeps them."""
        return self.walk(lambda name, _: given[name], overrides)

    def suggest_with(self, trial: optuna.trial.BaseTrial, overrides: Mapping[str, Any] | None = None) -> Values:
        """Walks with what an Optuna trial suggests."""

        def suggest(name: str, domain: Domain) -> Any:
            if isinstance(domain, Choice):
                return trial.suggest_categorical(name, domain.values)
            if isinstance(domain, FloatRange):
                return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
            return trial.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)

        return self.walk(suggest, overrides)

    def _walk(self, resolve: Callable[[str, Any], Any]) -> Values:
        values: Values = {}

        def ask(name: str, default: Any = None) -> None:
            needs = NEEDS.get(name)
            if needs is None or any(values[need] for need in needs):
                values[name] = resolve(name, default)

        def fill(slot: Slot) -> None:
            ask(slot.name)
            for name in [] if slot.name not in values else values[slot.name].split("+"):
                for field, default in slot.defaults(name).items():
                    if slot is not AUGMENT or values.get(f"{name}.{USE}", True):
                        ask(f"{name}.{field}", default)

        known = slots()
        ask("blocks")
        ask("padding")
        fill(known["pooling"])
        self._walk_blocks(values, ask)
        ask("dense_units")
        for name, slot in known.items():
            if name not in ("pooling", "optimizer", "schedule"):
                fill(slot)
        for name in NET:
            if name not in ("padding", "dense_units"):
                ask(name)
        fill(known["optimizer"])
        fill(known["schedule"])
        for name in TRAINING:
            ask(name)
        fill(AUGMENT)
        return values

    def _walk_blocks(self, values: Values, ask: Callable[[str], None]) -> None:
        """Asks for each block.

        Whether it is residual it asks only of one that has convolutions to go round, and whether it strides or pools
        only where a map is large enough; one of both is it.
        """
        side = IMAGE_SHAPE[0]
        size = values.get(f"{values.get('pooling')}.size", 2)
        for number in range(1, values["blocks"] + 1):
            for name in BLOCK:
                if name not in (*_HALVING, _RESIDUAL):
                    ask(f"{name}_{number}")
            values[f"{_RESIDUAL}_{number}"] = False
            if values[f"convs_{number}"] > 1:
                ask(f"{_RESIDUAL}_{number}")
            if values["padding"] == "valid":
                side -= values[f"convs_{number}"] * (values[f"kernel_{number}"] - 1)
            stride, pool = (f"{name}_{number}" for name in _HALVING)
            values |= {stride: 1, pool: False}
            if side >= _SMALLEST_POOLED:
                ask(stride)
            if values[stride] > 1:
                side = (side - 1) // values[stride] + 1
            elif side >= max(_SMALLEST_POOLED, size):
                ask(pool)
            if values[pool]:
                side //= size

    def convnet(self, values: Mapping[str, Any]) -> ConvNet:
        """Returns the architecture that `values` describe; what they leave out takes its default."""
        blocks = tuple(
            Block(**{name: values[f"{name}_{number}"] for name in BLOCK if f"{name}_{number}" in values})
            for number in range(1, values["blocks"] + 1)
        )
        fields: dict[str, Any] = {name: values[name] for name in NET if name in values}
        for name, slot in slots().items():
            if name in values and name not in ("optimizer", "schedule"):
                fields[name] = _spec(slot, values[name], values)
        return ConvNet(blocks=blocks, **fields)

    def recipe(self, values: Mapping[str, Any], epochs: int | None = None) -> Recipe:
        """Returns the network and the training that `values` describe, over the study's epochs or others.

        Raises:
            SpecError: a value is not legal.
        """
        known = slots()
        numbers: dict[str, Any] = {name: values[name] for name in TRAINING if name in values}
        training = TrainingSpec(
            epochs=epochs or self.config.budget.epochs,
            optimizer=_spec(known["optimizer"], values["optimizer"], values),
            schedule=_spec(known["schedule"], values["schedule"], values),
            augment=tuple(_spec(AUGMENT, name, values) for name in used(values)),
            **numbers,
        )
        return Recipe(self.convnet(values).network(), training)

    def impossible(self, values: Mapping[str, Any]) -> str | None:
        """Says why the architecture cannot be, by its shape or by the study's limits; None where it can."""
        return self._look(values)[0]

    def workload(self, values: Mapping[str, Any], images: int) -> Workload:
        """Returns what an epoch over so many images comes to.

        Raises:
            SpecError: there is no such network.
        """
        reason, counts = self._look(values)
        if counts is None:
            raise SpecError(f"a network must be possible, but {reason}; change its parameters.")
        return epoch_workload(counts, self.recipe(values).training, images)

    def _look(self, values: Mapping[str, Any]) -> tuple[str | None, Counts | None]:
        """Returns why the architecture cannot be, and what an image asks of it; looked at once."""
        # A rate costs the same whatever it is, as long as it is not 0.
        key = tuple(
            (name, bool(v) if isinstance(v, float) else v) for name, v in values.items() if _costs(name, values)
        )
        if key not in self._known:
            self._known[key] = self._count(values)
        return self._known[key]

    def _count(self, values: Mapping[str, Any]) -> tuple[str | None, Counts | None]:
        try:
            spec = self.convnet(values).network()
            network = Network(spec, batch_size=values["batch_size"], initialise=False)
        except SpecError as error:
            return f"shape: {error}", None
        counts = image_counts(network)
        vectors = _EXTRA_VECTORS + (_AVERAGE_VECTORS if values.get("ema") else 0)
        memory_mb = _WORKER_MB + (network.nbytes + vectors * network.arena.params.nbytes) / 1e6
        costs = {"macs": network.macs, "params": network.param_count, "memory_mb": round(memory_mb)}
        for name, cost in costs.items():
            limit = getattr(self._limits, name)
            if limit is not None and cost > limit:
                return f"{name}: {cost:,} is above the limit of {limit:,}", counts
        return None, counts

    def preset_values(self, name: str) -> tuple[Values, Values]:
        """Returns a preset as this study's trials would have it: the values that fit the space, and those that do not.

        The schedule and the epochs stay the study's.

        Raises:
            SpecError: there is no preset of that name.
        """
        wanted = flatten(presets.architecture(name), presets.preset(name).training)
        schedule = slots()["schedule"].name
        ours = (schedule, self._domains[schedule].values[0])  # type: ignore[union-attr]  # it is always settled
        for known, domain in self._domains.items():
            if known.partition(".")[0] in ours and isinstance(domain, Choice):
                wanted[known] = domain.values[0]
        return self.place(wanted)[1:]

    def place(self, wanted: Mapping[str, Any]) -> tuple[Values, Values, Values]:
        """Returns a trial that has what is wanted, whether it lies in the space or not.

        Args:
            wanted: by plain name; what is not there takes its default.

        Returns:
            All of its values; those that it asks for, as parameters; and those that lie beside the space.
        """
        fits: Values = {}
        overrides: Values = {}
        wanted = {**wanted, **spelled(used(wanted), self._domains)}

        def resolve(name: str, default: Any) -> Any:
            domain, value = self._domains.get(name), wanted.get(name, default)
            if domain is None or not domain.contains(value):
                overrides[name] = value
            elif not settled(domain):
                fits[name] = value
            return value

        return self._walk(resolve), fits, overrides

    def architecture(self, values: Mapping[str, Any]) -> str:
        """Returns a short text for the network, such as "conv 32-64 k5-3 bn dense 128"."""
        return architecture_label(values)

    def plain(self, values: Mapping[str, Any], epochs: int | None = None) -> Values:
        """Returns what a table of trials shows: one column for a thing, whatever the optimizer or the block.

        `learning_rate` stands for "adam.learning_rate" as for any other's, `filters` is "32-64" for two blocks.
        """
        columns = plain_columns(values, self._domains)
        return {"architecture": self.architecture(values)} | columns | {"epochs": epochs or self.config.budget.epochs}


def _spec(slot: Slot, name: str, values: Mapping[str, Any]) -> Spec | None:
    if name == NONE:
        return None
    spec_class = slot.registry.get(name)
    fields = {field: values[f"{name}.{field}"] for field in domains_of(spec_class) if f"{name}.{field}" in values}
    return spec_class(**fields)


def _costs(name: str, values: Mapping[str, Any]) -> bool:
    """Says whether a value of this name can change what a network costs: not if it is the training's."""
    spec, _, field = name.partition(".")
    if field:
        return spec not in (values["optimizer"], values["schedule"], *values["augment"].split("+"))
    return name in ("batch_size", "ema") or name not in (*TRAINING, "optimizer", "schedule", AUGMENT.name)
