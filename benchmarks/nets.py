"""The nets that are measured: the ones with names, and draws from the space of the study that `make sweep` runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mnistnn import presets
from mnistnn.architecture import Block, ConvNet
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.network import Network, NetworkSpec
from mnistnn.optimizers.adam import Adam

__all__ = ["DRAWS", "NAMES", "ROOT", "Case", "drawn_cases", "named_case", "step_flop"]

ROOT = Path(__file__).resolve().parent.parent
DRAWS = 50
_SEED = 4  # of the draws; the study's own would give the very trials that its figures come from
_PLAIN, _NORM = "plain", "norm"

_THREE = ConvNet(blocks=tuple(Block(filters=filters, convs=2) for filters in (16, 32, 64)))
_ARCHITECTURES = {name: presets.architecture(name) for name in ("report", "small", "conv2", "mlp3")} | {"three": _THREE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A net to measure, with what a training step of it depends on besides.

    Attributes:
        name: "conv2", "conv2-norm", or "draw-07".
        group: "named" or "draw".
    """

    name: str
    group: str
    convnet: ConvNet
    batch_size: int = 100
    optimizer: Any = field(default_factory=Adam)

    @property
    def network(self) -> NetworkSpec:
        """The list of layers."""
        return self.convnet.network()


def _named() -> Iterator[Case]:
    """Each architecture as it is known, and where it has convolutions its counterpart: with a norm, or without."""
    for name, convnet in _ARCHITECTURES.items():
        yield Case(name=name, group="named", convnet=convnet)
        if convnet.blocks:
            norm, ending = (None, _PLAIN) if convnet.norm else (BatchNormSpec(), _NORM)
            yield Case(name=f"{name}-{ending}", group="named", convnet=replace(convnet, norm=norm))


_NAMED = {case.name: case for case in _named()}
NAMES = tuple(_NAMED)


def named_case(name: str) -> Case:
    """Returns the net of that name; "draw-07" is the seventh draw.

    Raises:
        KeyError: there is none.
    """
    if name.startswith("draw-") and name[5:].isdecimal() and int(name[5:]):
        return drawn_cases(int(name[5:]))[-1]
    return _NAMED[name]


def drawn_cases(count: int = DRAWS, study: Path = ROOT / "studies" / "default.toml") -> list[Case]:
    """Returns draws from a study's space, at random and within its limits; the same ones each time."""
    import optuna

    from sweeps.config import load_study
    from sweeps.study.sampler import make_sampler
    from sweeps.study.space import Space

    changes = ['sampler.type="random"', f"study.seed={_SEED}"]
    config = load_study(study, root=ROOT, overrides=changes)
    space = Space(config)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        drawn = optuna.create_study(sampler=make_sampler(config, space))
    finally:
        optuna.logging.set_verbosity(verbosity)
    cases = []
    for number in range(1, count + 1):
        values = space.suggest_with(drawn.ask())
        training = space.recipe(values).training
        cases.append(
            Case(
                name=f"draw-{number:02}",
                group="draw",
                convnet=space.convnet(values),
                batch_size=training.batch_size,
                optimizer=training.optimizer,
            )
        )
    return cases


def step_flop(network: Network, batch_size: int) -> float:
    """Returns the floating point operations of a training step's matrix products, a multiply-add counted as two.

    There are three for each layer with weights (output, weights' gradient, input's gradient), but nobody needs the
    gradient of the first one's input. Elementwise work, pools and norms are not counted: so this is what must be done.
    """
    products = 0
    for built in network.layers.values():
        if built.macs:
            products += built.macs * (3 if products else 2)
    return 2.0 * products * batch_size
