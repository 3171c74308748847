"""What the trials of recorded runs say of the ranges that were searched, as a table for a page of docs/results/.

Runs are by other seeds, or judged by another metric, so their figures do not compare; ranks within a run do. A trial's
rank is its place in the record, where the complete ones stand first, the best of them at the top, and then those that
were pruned. Nothing here is of test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas
from scipy.stats import kruskal, spearmanr

from docs.markdown import row
from sweeps.ensemble.difference import holm

__all__ = ["ranges_table", "searched_trials"]

#: Of fewer trials than this nothing is said.
_LEAST: Final = 8
#: The last column of a record's table that is no parameter.
_LAST_RESULT: Final = "weights_sha256"


def searched_trials(run: pandas.DataFrame) -> pandas.DataFrame:
    """Returns a run's trials that were drawn and compared, with their `place`: from 0, the best's, to 1, the last's.

    Args:
        run: the table of a record, the best trial first.
    """
    drawn = run[run["from"].isna() & run["baseline"].isna() & run["state"].isin(["COMPLETE", "PRUNED"])]
    return drawn.assign(place=np.linspace(0, 1, len(drawn)))


def ranges_table(runs: Sequence[pandas.DataFrame]) -> str:
    """Returns a Markdown table with one row a searched parameter; an empty text where there are too few trials.

    It tells what was drawn, what the better half drew, and whether it goes with the place: for numbers, and for what is
    used or not, by Spearman's correlation, above 0 where more of it stands further up; for other choices by Kruskal and
    Wallis's test. The p-values are corrected for the number of rows, by Holm.

    Args:
        runs: the tables of the records.
    """
    named = [list(run.columns[run.columns.get_loc(_LAST_RESULT) + 1 :]) for run in runs]
    drawn = [searched_trials(run)[[*names, "place"]] for run, names in zip(runs, named, strict=True)]
    trials = pandas.concat(drawn, ignore_index=True)
    rows: list[list[str]] = []
    p_values: list[float] = []
    for name in dict.fromkeys(name for names in named for name in names):
        known = trials[[name, "place"]].dropna().infer_objects().rename(columns={name: "value"})
        if len(known) >= _LEAST and known["value"].nunique() > 1:
            correlation, p_value = _goes_with_place(known)
            better = known.loc[known["place"] <= known["place"].median(), "value"]
            rows.append([f"`{name}`", str(len(known)), _spread(known["value"]), _spread(better), correlation])
            p_values.append(p_value)
    if not rows:
        return ""
    lines = ["| parameter | trials | drawn | by the better half | correlation | p |", "|---|--:|---|---|--:|--:|"]
    lines += [row((*cells, f"{p_value:.2f}")) for cells, p_value in zip(rows, holm(p_values), strict=True)]
    return "\n".join(lines)


def _goes_with_place(known: pandas.DataFrame) -> tuple[str, float]:
    """Returns the correlation, as it is shown, and the p-value."""
    if known["value"].dtype == object or isinstance(known["value"].dtype, pandas.StringDtype):
        groups = [group["place"] for _, group in known.groupby("value")]
        return "", float(kruskal(*groups).pvalue)
    found = spearmanr(known["value"].astype(float), -known["place"])
    return f"{found.statistic:+.2f}", float(found.pvalue)


def _spread(values: pandas.Series) -> str:
    """Returns the choices, the most frequent first, with their counts; of many numbers the ends and the middle."""
    counts = values.value_counts()
    if len(counts) <= 4 or not pandas.api.types.is_numeric_dtype(values):
        return ", ".join(f"{_text(value)} ×{count}" for value, count in counts.items())
    low, middle, high = values.quantile([0.0, 0.5, 1.0])
    return f"{low:.3g} – {high:.3g}, median {middle:.3g}"


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
