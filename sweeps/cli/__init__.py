"""The command line: verbs, and nothing else. A verb imports what it needs when it is called, so help comes at once."""

from __future__ import annotations

import click

from sweeps.cli import care, comparison, completion, contest, nets, pages, state, studies
from sweeps.cli.options import Verbs
from sweeps.workers.cores import one_thread

__all__ = ["main"]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Sweep NumPy networks over MNIST, track them, and average the best.

    STUDY is the name of a file in studies/, or a path to one. Results go to stdout, progress to stderr. The exit code
    is 0 when done, 1 when something failed, 2 when it cannot be done as asked, 130 after Ctrl-C.
    """
    one_thread()


# By what people are doing, and within that in the order of their work.
main.add_section("Data and nets", nets.data, nets.train, nets.predict)
main.add_section(
    "Studies",
    studies.run,
    studies.init,
    studies.worker,
    state.status,
    studies.trials,
    studies.report,
    comparison.compare,
    comparison.repeat,
    comparison.ablation,
    studies.enqueue,
    studies.extend,
    studies.fork,
    studies.ui,
    pages.dashboard,
)
main.add_section("Contest", contest.ensemble, contest.robustness, contest.submit, contest.verify, pages.serve)
main.add_section("Care", care.doctor, care.replay, care.export, care.import_, care.clean, completion.completion)
