"""The temperature of an average, where most images have the answers of only a few of its members.

A member of a final stage has predicted a tenth of the images, so an image has one answer or two, and the temperature
that fits these is that of single nets. For an average of a dozen, which is less sure than each of them, it is too high
(Rahaman and Thiery 2020). By how much, the search's trials show, which have all predicted the validation images: the
single nets' temperature is multiplied by what averaging does to theirs. No test image is seen here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mnistnn.types import Floats, Ints
from sweeps.ensemble.averaging import average
from sweeps.ensemble.evidence import Evidence
from sweeps.ensemble.temperature import fit_temperature, tempered

__all__ = ["Carried", "carry_over", "is_few", "temperature_here"]

# With the answers of more than half of the members, what is fitted is near enough: what averaging does goes with
# 1 - 1 / members, of which an average of five has nine tenths of what one of ten has.
_FEW = 0.5


@dataclass(frozen=True, slots=True)
class Carried:
    """A temperature that was carried over from the search.

    Attributes:
        single: the temperature of single nets: it fits what each of the ensemble's members predicted, all together.
        ratio: the temperature of an average of the search's trials, as a share of that of these as single nets, once
            they are as sure as the ensemble's members.
        trials: how many of them were averaged: as many as the ensemble has members, or as there are.
    """

    single: float
    ratio: float
    trials: int

    @property
    def temperature(self) -> float:
        """The ensemble's. Four digits: what is kept in a record is what was used."""
        return float(f"{self.single * self.ratio:.4g}")


def is_few(answers: float, members: int) -> bool:
    """Says whether so many answers an image are too few to fit a temperature for the average of so many members."""
    return members > 1 and answers <= _FEW * members


def carry_over(evidence: Evidence, searched: Callable[[int], Evidence | None]) -> Carried | None:
    """Returns the temperature of an average whose own could not be fitted, from what averaging did in the search.

    It is an estimate, and a little low: the search's trials were trained shorter and are less alike than members of a
    few networks, and the less alike nets are, the less sure is their average. To carry nothing over is farther off.

    Args:
        evidence: of the ensemble's members.
        searched: returns what so many trials of the search predicted, each for the same images, if there are two.

    Returns:
        The temperature and where it comes from; None where the evidence is enough, or where no search is there.
    """
    count = len(evidence.probs)
    if not is_few(evidence.answers, count) or (among := searched(count)) is None:
        return None
    single, theirs = _single(evidence), _single(among)
    # How sure an average is goes by how sure its members are, so they are made as sure as the ensemble's.
    alike = [tempered(probs, theirs / single) for probs in among.probs]
    ratio = fit_temperature(among.labels, average(alike, [1 / len(alike)] * len(alike))) / single
    return Carried(single, float(f"{ratio:.4g}"), len(alike))


def temperature_here(temperature: float, carried: Carried | None, labels: Ints, probs: Floats) -> float:
    """Returns the temperature for an ensemble's answers for the images that chose it.

    It is the ensemble's, unless that was carried over: then it is for the answers of all members, and not of the few
    that there are here for an image, which have the one that fits them.

    Args:
        temperature: the ensemble's.
        carried: how it was carried over; None if it was not.
        labels: of the images.
        probs: the averages of what members predicted for them.
    """
    return temperature if carried is None else fit_temperature(labels, probs)


def _single(evidence: Evidence) -> float:
    """Returns the temperature that fits all members' answers, each by itself."""
    parts = [evidence.member(index) for index in range(len(evidence.probs))]
    return fit_temperature(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
