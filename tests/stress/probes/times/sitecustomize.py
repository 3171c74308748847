"""Measures, in each worker, where the time of a trial goes; a JSON line a trial to `$STRESS_TIMES/<pid>.jsonl`."""

from __future__ import annotations

import functools
import json
import os
import sys
import time


def _install() -> None:
    import sweeps.study.claims as claims
    import sweeps.study.objective as objective
    import sweeps.study.recovery as recovery
    from mnistnn.training import Trainer
    from sweeps.study.sampler import FeasibleSampler

    path = os.path.join(os.environ["STRESS_TIMES"], f"{os.getpid()}.jsonl")
    spent = {"trial": [0.0, 0.0], "sampler": [0.0, 0.0], "training": [0.0, 0.0]}
    first_step = [0.0]

    def add(part, began):
        wall, cpu = began
        spent[part][0] += time.perf_counter() - wall
        spent[part][1] += time.process_time() - cpu

    def timed(part, call):
        @functools.wraps(call)
        def inner(*args, **kwargs):
            began = time.perf_counter(), time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                add(part, began)

        return inner

    def timed_epochs(call):
        @functools.wraps(call)
        def inner(*args, **kwargs):
            epochs = call(*args, **kwargs)
            while True:
                first_step[0] = first_step[0] or time.time()
                began = time.perf_counter(), time.process_time()
                try:
                    metrics = next(epochs)
                except StopIteration:
                    return
                finally:
                    add("training", began)
                yield metrics

        return inner

    def reported(call):
        @functools.wraps(call)
        def inner(study, trial, *others):
            number = trial.number
            try:
                return timed("trial", call)(study, trial, *others)
            finally:
                line = {"number": number, "ended": time.time(), "first_step": first_step[0], **spent}
                with open(path, "a") as file:
                    file.write(json.dumps(line) + "\n")
                for part in spent:
                    spent[part] = [0.0, 0.0]

        return inner

    def claimed(call):
        @functools.wraps(call)
        def inner(*args, **kwargs):
            found = timed("trial", call)(*args, **kwargs)
            if found is None:  # no room: an idle look, and the search for the dead before it, are no part of a trial
                for part in spent:
                    spent[part] = [0.0, 0.0]
            return found

        return inner

    recovery.recover = timed("trial", recovery.recover)
    claims.claim = claimed(claims.claim)
    objective.run_trial = reported(objective.run_trial)
    objective.build_trainer = timed("training", objective.build_trainer)
    Trainer.fit = timed_epochs(Trainer.fit)
    for name in ("infer_relative_search_space", "propose"):
        setattr(FeasibleSampler, name, timed("sampler", getattr(FeasibleSampler, name)))


if "sweeps.workers.worker" in sys.orig_argv:
    _install()
