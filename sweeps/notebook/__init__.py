"""A study in a notebook: its trials as a table, its best nets to predict with, and its pictures.

    >>> from sweeps import Study
    >>> study = Study("default")
    >>> study.best.network().predict(images)
    >>> study.ensemble(top=10).predict_proba(images)

Everything is read from what the study's workers left; nothing is trained, and no test images are opened. A study may be
at work meanwhile: each call sees it as it then is.
"""

from sweeps.notebook.ensemble import StudyEnsemble
from sweeps.notebook.study import Study
from sweeps.notebook.trial import Trial

__all__ = ["Study", "StudyEnsemble", "Trial"]
