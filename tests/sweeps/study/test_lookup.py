"""A study that has what a checkout does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.errors import StudyError
from sweeps.study.lookup import config_of
from tests.sweeps.views.recorded import Recorded


def test_a_layer_whose_file_was_moved_away_is_to_be_put_back(tmp_path: Path) -> None:
    study = Recorded(tmp_path).study
    tables = study.user_attrs["config"]
    study.set_user_attr("config", tables | {"search": tables["search"] | {"activation": {"my_swish": {}}}})
    with pytest.raises(
        StudyError, match=r"^study 'small', as it was last run: .*my_swish.*put the file back"
    ) as raised:
        config_of(study)
    assert "\n" not in str(raised.value)
