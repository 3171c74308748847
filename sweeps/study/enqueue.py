"""Queueing a trial with values that somebody has chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from mnistnn.domains import Domain
from sweeps.config import StudyConfig
from sweeps.config.duration import clock
from sweeps.config.fault import shown
from sweeps.config.legal import AUGMENT, BLOCK, USE, slots
from sweeps.config.search import settled
from sweeps.errors import ConfigError
from sweeps.paths import StudyPaths
from sweeps.study.claims import queue_lock
from sweeps.study.labels import run_name
from sweeps.study.lookup import config_of, find_trial, values_of
from sweeps.study.pruner import make_pruner
from sweeps.study.sampler import make_sampler
from sweeps.study.space import NEEDS, Space, Values
from sweeps.study.wishes import Wish, merge, read_wishes

__all__ = ["Queued", "enqueue", "how_it_runs", "queue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A trial that waits.

    Attributes:
        study: the study's name.
        trial: its number.
        name: what it is called: number, network, optimizer, learning rate.
        given: what was asked for, by the names that were used.
        base: the trial that the rest is from, if one was named.
        changed: by the names that `trials` shows, what differs from that trial: its value, and ours.
        drawn: what the sampler chose, by plain name.
        outside: what lies beside the study's own ranges, by plain name.
        notes: when it will run.
    """

    study: str
    trial: int
    name: str
    given: dict[str, str]
    base: int | None = None
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)
    outside: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [("queued", self.name)]
        if self.base is not None:
            changes = [f"{name} {text_of(new)} (was {text_of(old)})" for name, (old, new) in self.changed.items()]
            rows.append((f"from #{self.base:03d}", ", ".join(changes) or "with no change, but another seed"))
        if self.outside:
            rows.append(("outside", f"the study's ranges: {_listed(self.outside)}"))
        if self.drawn:
            rows.append(("drawn", _listed(self.drawn)))
        width = max(len(title) for title, _ in rows)
        return "\n".join([*(f"{title:<{width}}  {text}" for title, text in rows), *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def enqueue(
    study: optuna.Study, paths: StudyPaths, texts: Sequence[str], *, base: int | None = None, budget: StudyConfig
) -> Queued:
    """Queues a trial with chosen values; workers that are at the study take it up in its turn.

    What is not chosen is as in the trial `base`, else the study's sampler draws it, now. A value may lie outside the
    study's ranges, as those of baselines do, as long as a Spec allows it and the architecture is within [limits].

    Args:
        study: the study.
        paths: its paths.
        texts: NAME=VALUE each.
        base: a trial to take the other values from.
        budget: the study's file as it is now, for what is left of its time.

    Raises:
        ConfigError: a name is unknown, a value is not legal or of no use, or there can be no such network.
        StudyError: there is no such trial, or it has no parameters yet.
    """
    config = config_of(study)
    space = Space(config)
    wishes = read_wishes(texts, space)
    if not wishes and base is None:
        raise ConfigError("a trial to queue must have a value that is chosen, but got none; give NAME=VALUE or --from.")
    own: Values = {} if base is None else values_of(find_trial(study, base), space)
    wanted = own | merge(wishes)
    given = {name: value for name, value in wanted.items() if _is_asked_for(space.domains.get(name), value)}
    overrides = {name: value for name, value in wanted.items() if not _is_inside(space.domains.get(name), value)}
    study.sampler, study.pruner = make_sampler(config, space), make_pruner(config)  # whose brackets it depends on

    def objection(values: Values) -> str | None:
        unmet = next((wish for wish in wishes if not wish.holds(values)), None)
        return None if unmet is None else _why_unmet(unmet, values)

    with queue_lock(paths):  # nobody else makes a trial meanwhile: what is drawn depends on its number
        drawn = study.sampler.complete(study, given, overrides, objection)
        if drawn.reason is not None:
            raise ConfigError(f"a trial must be possible, but {drawn.reason}; choose other values.")
        outside = {name: value for name, value in overrides.items() if name in drawn.values}
        number = queue(study, drawn.params, {"asked": True, "overrides": outside})
    plain = space.plain(drawn.values)
    before = {} if base is None else space.plain(own)
    changed = {name: (before.get(name), value) for name, value in plain.items() if before.get(name) != value}
    changed.pop("architecture", None)  # which follows from the others
    return Queued(
        study=config.name,
        trial=number,
        name=run_name(number, space.architecture(drawn.values), plain),
        given={wish.name: wish.value for wish in wishes},
        base=base,
        changed=changed if before else {},
        drawn={name: value for name, value in drawn.params.items() if name not in given},
        outside=outside,
        notes=how_it_runs(study, budget),
    )


def queue(study: optuna.Study, chosen: Mapping[str, Any], attributes: Mapping[str, Any], **more: Any) -> int:
    """Adds a waiting trial, as `study.enqueue_trial` does, and returns its number.

    Args:
        study: the study.
        chosen: its parameters.
        attributes: its user attributes.
        more: what else `create_trial` takes.
    """
    template = create_trial(
        state=TrialState.WAITING, user_attrs=dict(attributes), system_attrs={"fixed_params": dict(chosen)}, **more
    )
    trial_id = study._storage.create_new_trial(study._study_id, template_trial=template)
    return study._storage.get_trial(trial_id).number


def how_it_runs(study: optuna.Study, budget: StudyConfig) -> tuple[str, ...]:
    """Returns lines on when a trial that was asked for will run.

    Args:
        study: the study.
        budget: its file as it is now.
    """
    name, elapsed_s = study.study_name, float(study.user_attrs.get("elapsed_s", 0.0))
    times = [budget.budget.time_s, config_of(study).budget.time_s]  # of the next `run`, and of one that is at work
    longest = None if None in times else max(time for time in times if time is not None)
    if longest is not None and elapsed_s >= longest:
        return (
            f"It waits, for the study's time is used up ({clock(elapsed_s)} of {clock(longest)}): give it more by",
            f"  sweeps run {name} --set budget.time={_more_time(elapsed_s)}",
        )
    final = "" if budget.final is None else ", before new members of the final stage if that has begun"
    turn = f"Workers at the study take it up in its turn{final}; else: run {name}"
    notes: tuple[str, ...] = (f"It does not count towards a budget in trials. {turn}",)
    if longest is not None:
        left = clock(longest - elapsed_s)
        notes += (f"The study's time holds for it too, of which {left} are left; what does not fit waits for more.",)
    return notes


def _more_time(elapsed_s: float) -> str:
    """Returns a budget as people write it, of ten minutes more at least."""
    return f"{int(elapsed_s // 60) + 11}m"


def _is_inside(domain: Domain | None, value: Any) -> bool:
    return domain is not None and domain.contains(value)


def _is_asked_for(domain: Domain | None, value: Any) -> bool:
    """Says whether a trial asks for a value itself: where more than one is left, and this is among them."""
    return domain is not None and not settled(domain) and domain.contains(value)


def _why_unmet(wish: Wish, values: Mapping[str, Any]) -> str:
    """Says why a trial with these values has no use for what is wished."""
    way = wish.ways[0]
    name = wish.name if wish.name in values else next(name for name, value in way.items() if values.get(name) != value)
    spec, dot, _ = name.partition(".")
    field_name, _, number = name.rpartition("_")
    beside = None
    if dot:
        beside = next((slot for slot, known in slots().items() if spec in known.names()), AUGMENT.name)
        if values.get(f"{spec}.{USE}") is False:
            beside = f"{spec}.{USE}"
    elif field_name in BLOCK and number.isdigit():
        if field_name in ("pool", "stride") and int(number) <= values["blocks"]:
            stride = values[f"stride_{number}"]
            if stride > 1 and field_name == "pool":
                return f"{wish} is of no use beside stride_{number}={stride}"
            return f"{wish} cannot be, for what comes to that {field_name} is too small"
        beside = f"convs_{number}" if field_name == "residual" and int(number) <= values["blocks"] else "blocks"
    elif name in NEEDS:
        beside = next((need for need in NEEDS[name] if not values[need]), None)
    if beside is None:
        return f"{wish} cannot be"
    found = f"{beside}={text_of(values[beside])}" if beside in values else f"no {beside}"
    return f"{wish} is of no use beside {found}"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={text_of(value)}" for name, value in values.items())


def text_of(value: Any) -> str:
    """Returns a value as a line shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else "none" if value is None else shown(value)
