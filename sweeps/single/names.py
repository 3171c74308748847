"""What there is to choose from in this checkout, for the verbs' `--help`."""

from __future__ import annotations

import re

from mnistnn.domains import domains_of
from mnistnn.presets import PRESETS, preset
from mnistnn.registry import Registry, augmentation, layer, optimizer, schedule

__all__ = ["presets", "searchable"]

Section = tuple[str, list[tuple[str, str]]]


def presets() -> list[Section]:
    """Returns each preset with its layers and its training."""
    lines = []
    for name in PRESETS:
        recipe = preset(name)
        layers = " ".join(layer.name_of(spec) for spec in recipe.network.layers)
        training = recipe.training
        rule = f"{training.epochs} epochs in batches of {training.batch_size}, {optimizer.name_of(training.optimizer)}"
        lines.append((name, f"{layers}; {rule} {training.optimizer.learning_rate:g}"))
    return [("Presets", lines)]


def searchable() -> list[Section]:
    """Returns each layer, optimizer, augmentation and schedule, and the legal values of its fields."""
    titles = {"Layers": layer, "Optimizers": optimizer, "Augmentations": augmentation, "Schedules": schedule}
    return [(title, _entries(registry)) for title, registry in titles.items()]


def _entries(registry: Registry) -> list[tuple[str, str]]:
    entries = []
    for name in registry.names():
        spec_class: type = registry.get(name)
        summary = (spec_class.__doc__ or "").strip().splitlines()[0]
        fields = ", ".join(f"{field} {_short(str(domain))}" for field, domain in domains_of(spec_class).items())
        entries.append((name, f"{summary} [{fields}]" if fields else summary))
    return entries


def _short(domain: str) -> str:
    """Returns a domain without the words that a list of them needs not repeat."""
    return re.sub(r"^(a number from|a whole number from|one of) ", "", domain).replace(", ", "|").replace(" to ", "…")
