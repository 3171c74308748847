"""Studies to draw, and what a critical reader would find in a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.text import Text
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from PIL import Image

from sweeps.views.pictures.style import to_png

_BEGAN = datetime(2026, 3, 1, 10)
_RATES = {"adam": (3e-4, 1e-2), "adamw": (3e-4, 1e-2), "nesterov": (1e-2, 0.5)}
_ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh")


def drawn_study(count: int, *, direction: str = "minimize", failed: bool = False, seed: int = 0) -> optuna.Study:
    """Returns a study of trials that nobody trained: with conditional parameters, two workers, and a pause.

    Args:
        count: of trials.
        direction: by what they are judged: "minimize" a loss, or "maximize" an accuracy.
        failed: whether all of them failed.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    study = optuna.create_study(study_name="drawn", direction=direction)
    free = [_BEGAN, _BEGAN]
    for number in range(count):
        if number == count // 2:
            free = [moment + timedelta(hours=9) for moment in free]
        worker = free.index(min(free))
        trial = _trial(number, rng, direction == "maximize", failed, free[worker])
        free[worker] = (trial.datetime_complete or free[worker]) + timedelta(seconds=0.1)
        study.add_trial(trial)
    return study


def _trial(number: int, rng: np.random.Generator, is_accuracy: bool, failed: bool, began: datetime) -> FrozenTrial:
    params: dict[str, Any] = {}
    known: dict[str, BaseDistribution] = {}

    def draw(name: str, distribution: BaseDistribution, value: Any) -> Any:
        params[name], known[name] = value, distribution
        return value

    blocks = draw("blocks", IntDistribution(1, 3), int(rng.integers(1, 4)))
    for block in range(1, blocks + 1):
        draw(f"filters_{block}", IntDistribution(8, 128, step=8), int(8 * rng.integers(1, 17)))
        draw(f"pool_{block}", CategoricalDistribution((True, False)), bool(rng.integers(2)))
    norm = draw("norm", CategoricalDistribution(("none", "batch_norm")), ("none", "batch_norm")[int(rng.integers(2))])
    draw("activation", CategoricalDistribution(_ACTIVATIONS), _ACTIVATIONS[int(rng.integers(4))])
    draw("dropout", FloatDistribution(0.0, 0.4), float(rng.uniform(0.0, 0.4)))
    optimizer = draw("optimizer", CategoricalDistribution(tuple(_RATES)), tuple(_RATES)[int(rng.integers(3))])
    low, high = _RATES[optimizer]
    rate = float(np.exp(rng.uniform(math.log(low), math.log(high))))
    draw(f"{optimizer}.learning_rate", FloatDistribution(low, high, log=True), rate)
    if optimizer == "adamw":
        draw("adamw.weight_decay", FloatDistribution(1e-6, 1e-1, log=True), float(10 ** rng.uniform(-6, -1)))
    place = math.log(rate / low) / math.log(high / low) - 0.6
    loss = 0.02 * math.exp(3 * place**2 + 0.5 * (norm == "none") + 0.3 * (3 - blocks) + 0.3 * rng.standard_normal())
    pruned = number > 5 and loss > 0.04 and rng.random() < 0.6
    state = TrialState.FAIL if failed or rng.random() > 0.97 else TrialState.PRUNED if pruned else TrialState.COMPLETE
    epochs = {TrialState.COMPLETE: 6, TrialState.PRUNED: 2, TrialState.FAIL: 1}[state]
    losses = {epoch: loss * (1 + 6 * math.exp(-epoch)) for epoch in range(1, epochs + 1)}
    curve = {epoch: 1 - 0.3 * value if is_accuracy else value for epoch, value in losses.items()}
    if number % 7 == 3:
        curve[1] = math.nan  # it came back from there
    seconds = epochs * blocks * float(rng.uniform(2, 9))
    attributes: dict[str, Any] = {} if state == TrialState.FAIL else {
        "label": f"conv {params['filters_1']}",
        "params": int(20_000 * blocks * rng.uniform(0.5, 4)),
        "seconds": seconds,
        "val_loss": losses[epochs],
        "val_accuracy": 1 - 0.3 * losses[epochs],
    }  # fmt: skip
    trial = create_trial(
        state=state,
        value=curve[epochs] if state == TrialState.COMPLETE else None,
        params=params,
        distributions=known,
        user_attrs=attributes,
        intermediate_values=curve,
    )
    trial.datetime_start, trial.datetime_complete = began, began + timedelta(seconds=seconds)
    return trial


def drawn_with_faults(figure: Figure, title: str) -> tuple[bytes, list[str]]:
    """Draws a figure as it is written. Returns the PNG, and what is wrong: texts cut off or over one another."""
    png = to_png(figure, title)
    image = Image.open(io.BytesIO(png))
    found = [] if len(image.getcolors(1 << 20) or []) > 3 else ["it is empty"]
    width, height = figure.canvas.get_width_height()
    shown = [(text, text.get_window_extent()) for text in _texts(figure)]
    for text, box in shown:
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(f"{text.get_text()!r} is cut off: {box}")
    for index, (text, box) in enumerate(shown):
        if text.get_rotation() not in (0, 90):
            continue  # its box says nothing of where its letters are
        for other, also in shown[index + 1 :]:
            across = min(box.x1, also.x1) - max(box.x0, also.x0)
            down = min(box.y1, also.y1) - max(box.y0, also.y0)
            if other.get_rotation() in (0, 90) and across > 2 and down > 3:
                found.append(f"{text.get_text()!r} lies over {other.get_text()!r}")
    return png, found


def _texts(figure: Figure) -> Iterator[Text]:
    """Yields what is written: not the labels of ticks beyond an axis, nor what belongs to axes that are not shown."""
    hidden: set[Text] = set()
    for axes in figure.axes:
        is_shown = axes.get_visible() and axes.axison
        if not axes.get_visible():
            hidden.update(axes.findobj(Text))
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-6 * (high - low)
            current = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            for tick in [*axis.majorTicks, *axis.minorTicks]:
                if not is_shown or tick not in current or not low - slack <= tick.get_loc() <= high + slack:
                    hidden.update((tick.label1, tick.label2))
            hidden.update([] if is_shown else [axis.label])
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in hidden:
            yield text
