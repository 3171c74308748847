"""The process that runs trials: `python -m sweeps.workers.worker NAME`, its order as JSON on standard input.

It imports NumPy, Optuna and the network, and nothing of MLflow or pandas: what it has to say goes into event files.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweeps.workers.order import Order
from sweeps.workers.process import UNUSABLE
from sweeps.workers.signals import stop_signals

__all__ = ["StopFlag", "main", "work"]

# How often a worker without a trial looks whether there is room for one.
_IDLE_S = 0.2


class StopFlag:
    """Says whether to stop: after a signal that asks for it, or when the parent is gone."""

    def __init__(self, parent: int | None) -> None:
        self.parent = parent
        self.is_set = False

    def __call__(self) -> bool:
        """Returns True when it is time to leave; cheap enough for every step."""
        return self.is_set or (self.parent is not None and os.getppid() != self.parent)

    def install(self) -> None:
        """Sets the flag on such signals from now on."""
        for number in stop_signals():
            signal.signal(number, self._set)

    def _set(self, *_: object) -> None:
        self.is_set = True


def main() -> int:
    """Runs a worker; the exit code is 0, or 2 with a line about what cannot be used."""
    stop = StopFlag(None)
    stop.install()  # before anything takes time: a signal must never find nobody at home
    from mnistnn.errors import InputError

    try:
        order = Order.from_json(sys.stdin.read())
        stop.parent = order.parent
        work(order, stop, _say)
    except InputError as error:
        _say(f"error: {error}")
        return UNUSABLE
    except OSError as error:  # Optuna's journal; whatever we write ourselves is an InputError by then
        _say(f"error: a study's storage must be writable, but is not ({error.strerror or error}); make room there.")
        return UNUSABLE
    return 0


def work(order: Order, stop: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Runs trials until the study's budget is spent, no other would be of use in its time, or `stop` says so.

    Raises:
        InputError: something it needs cannot be used.
    """
    read = time.monotonic()
    from mnistnn.data import find_dataset
    from sweeps.config import StudyConfig
    from sweeps.errors import StudyError
    from sweeps.paths import Paths
    from sweeps.study.bench import Bench
    from sweeps.study.budget import Budget
    from sweeps.study.claims import OutOfTime, Superseded, claim
    from sweeps.study.final import FinalStage
    from sweeps.study.forecast import Forecast
    from sweeps.study.liveness import Heartbeat
    from sweeps.study.objective import run_trial
    from sweeps.study.pruner import make_pruner
    from sweeps.study.recovery import recover
    from sweeps.study.sampler import make_sampler
    from sweeps.study.space import Space
    from sweeps.study.storage import load_study
    from sweeps.study.validation import shifted_images

    config = StudyConfig.from_dict(order.config)
    space = Space(config)
    paths = Paths(Path(order.root))
    study_paths = paths.study(config.name)
    dataset = find_dataset(Path(order.data), cache=paths.data)
    if dataset.digest != order.data_digest:
        raise StudyError(f"the data at {order.data} must not change during a sweep, but it did; run again.")
    train, validation = dataset.split(config.seed)
    study = load_study(
        config.name,
        order.storage,
        study_paths,
        sampler=make_sampler(config, space),
        pruner=make_pruner(config),
        heartbeat_s=order.heartbeat_s,
    )
    left_s = None if order.left_s is None else order.left_s - (time.monotonic() - read)
    stage = config.final if order.only is None else None
    search_s = left_s if left_s is None or stage is None else left_s - (config.final_s or 0.0)
    forecast = Forecast(config, space, len(train), search_s)
    images = len(dataset.train_labels)
    final = None if stage is None else FinalStage(config, forecast, study_paths, images, left_s, order.workers)
    bench = Bench(
        config=config,
        space=space,
        train=train,
        validation=validation,
        dataset=dataset,
        paths=study_paths,
        tags=order.tags,
        inputs=order.inputs,
        stop=stop,
        say=say,
        forecast=forecast,
        shifted=shifted_images(validation, config.validation_shift, config.seed),
        left_s=lambda: None if final is None else final.left_s,
    )
    # The parent keeps the time, and stops what still runs when it is up.
    budget = replace(Budget.of(config, order.most), trials=order.trials).narrowed(order.only)
    while not stop():
        for number in recover(study, study_paths):  # of workers on other machines too, whose parents nobody may start
            say(f"trial {number} was left behind by a worker that died, and is queued again")
        try:
            claimed = claim(study, study_paths, budget, forecast, final)
        except OutOfTime:
            return
        if claimed is None:
            tally = budget.tally(study.get_trials(deepcopy=False))
            if budget.is_spent(tally) or budget.is_over(tally):
                return
            time.sleep(_IDLE_S)
            continue
        try:
            with Heartbeat(study, claimed.trial) as heartbeat:
                run_trial(study, claimed.trial, bench, functools.partial(claimed.check, heartbeat))
        except Superseded:
            say(f"trial {claimed.trial.number} is another worker's by now: this one was thought dead")
        finally:
            claimed.lock.release()


def _say(line: str) -> None:
    # Past Python's buffer, from which a line that a full disk refused would be written again, and fail, at the end.
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))


if __name__ == "__main__":
    sys.exit(main())
