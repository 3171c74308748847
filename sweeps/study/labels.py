"""How the values of a trial are shown: a short name for its network, and one column for each thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sweeps.config.legal import AUGMENT, BLOCK, NET, NET_DEFAULTS, NONE, TRAINING, slots
from sweeps.study.augmented import used

__all__ = ["architecture_label", "bare_names", "block_columns", "plain_columns", "run_name"]

_SHORT: Final = {"batch_norm": "bn"}
_PLURAL: Final = {"kernel": "kernels", "pool": "pools", "stride": "strides", "residual": "residuals"}


def architecture_label(values: Mapping[str, Any]) -> str:
    """Returns a short text for a network, such as "conv 32-64 k5-3 bn dense 128"; what is usual is left out."""
    words = _blocks(values) if values["blocks"] else []
    for name in ("norm", "activation", "pooling", "extra"):
        if values.get(name, NONE) not in (NONE, slots()[name].default):
            words.append(_SHORT.get(values[name], values[name]))
    if values.get("global_pool"):
        words.append("global pool")
    if values["dense_units"]:
        words.append(f"dense {values['dense_units']}")
    return " ".join(words) or "linear"


def run_name(number: int, label: str, plain: Mapping[str, Any]) -> str:
    """Returns what a trial is called wherever it is listed: `#017 conv 32-64 bn adamw 1.2e-3`."""
    mantissa, exponent = f"{plain['learning_rate']:.1e}".split("e")
    rate = f"{mantissa}e{int(exponent)}" if int(exponent) else mantissa
    return f"#{number:03d} {label} {plain['optimizer']} {rate}"


def _blocks(values: Mapping[str, Any]) -> list[str]:
    numbers = range(1, values["blocks"] + 1)
    convs = [f"x{values[f'convs_{i}']}" if values[f"convs_{i}"] > 1 else "" for i in numbers]
    residual = ["r" if values[f"residual_{i}"] else "" for i in numbers]
    filters = [str(values[f"filters_{i}"]) for i in numbers]
    kernels = [str(values[f"kernel_{i}"]) for i in numbers]
    words = ["conv", "-".join(map("".join, zip(filters, convs, residual, strict=True)))]
    words.append("k" + "-".join(kernels[:1] if len(set(kernels)) == 1 else kernels))
    pooled = [str(i) for i in numbers if values[f"pool_{i}"]]
    strided = [str(i) for i in numbers if values[f"stride_{i}"] > 1]
    if strided:
        words.append(f"strided {','.join(strided)}")
    if len(pooled) + len(strided) < len(numbers):
        words.append(f"pool {','.join(pooled)}" if pooled else "no pool")
    if values["padding"] != NET_DEFAULTS["padding"]:
        words.append(values["padding"])
    return words


def plain_columns(values: Mapping[str, Any], space: Iterable[str]) -> dict[str, Any]:
    """Returns the values with those of all blocks in one column, and without the Specs' names where that is clear.

    Args:
        values: all values of a trial.
        space: all plain names of its study, so that every trial has the same columns.
    """
    bare = bare_names(space)
    blocks = {f"{name}_{number}": name for name in BLOCK for number in range(1, values["blocks"] + 1)}
    shown: dict[str, Any] = {}
    for name, value in values.items():
        if name in blocks:
            column = block_columns()[blocks[name]]
            shown[column] = f"{shown[column]}-{int(value)}" if column in shown else f"{int(value)}"
        else:
            shown[bare.get(name, name)] = value
    return shown | {AUGMENT.name: "+".join(used(values)) or NONE}


def block_columns() -> dict[str, str]:
    """Returns the column of each field of a block: that of `kernel` is "kernels"."""
    return {name: _PLURAL.get(name, name) for name in BLOCK}


def bare_names(space: Iterable[str]) -> dict[str, str]:
    """Returns the names to show for "spec.field": the field's alone where no other column is called so.

    Of an augmentation it must be the only one's, whichever the study has: an amount alone says nothing.
    """
    known = slots()
    optimizer = known["optimizer"]
    bare = {f"{name}.{field}": field for name in optimizer.names() for field in optimizer.legal(name)}
    taken = {*NET, *TRAINING, *known, *bare.values(), AUGMENT.name, "blocks", "epochs", "architecture"}
    others = [name for name in space if "." in name and name not in bare]
    fields = [name.partition(".")[2] for name in others]
    shared = Counter(field for name in AUGMENT.names() for field in AUGMENT.legal(name))
    taken |= {field for field, count in shared.items() if count > 1}
    free = {field for field in fields if field not in taken and fields.count(field) == 1}
    return bare | {name: field for name, field in zip(others, fields, strict=True) if field in free}
