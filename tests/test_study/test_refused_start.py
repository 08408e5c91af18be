"""What a study leaves behind that is refused when it starts: nothing, unless it has begun."""

from pathlib import Path

import pytest

from paretune.core.errors import BadInput, ClusterLost
from paretune.platform.record.ledger import Ledger
from paretune.platform.spec.template import template
from paretune.platform.study.api import read_spec
from paretune.platform.study.creation import SpecSource, start_study
from paretune.platform.study.plan import Plan, build_plan
from paretune.platform.study.study import StudyResult


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A study with shared storage."""
    (tmp_path / "study.yaml").write_text(template())
    return build_plan(read_spec(tmp_path / "study.yaml", {"storage": f"{tmp_path}/runs", "shared": f"{tmp_path}/shared", "name": "x"}))


def refused(plan: Plan, *, with_error: Exception, asks: bool = False) -> None:
    """Start the study; the cluster refuses it."""

    def run(folder: Path) -> StudyResult:
        with Ledger.open(folder, shared=Path(str(plan.spec.shared)) / "x") as ledger:
            ledger.append([("staffed", {"stations": {}})])
            if asks:
                ledger.append([("asked", {})])
        raise with_error

    with pytest.raises(type(with_error)):
        start_study(plan, SpecSource(text="", overrides={}), run)


def test_a_study_that_is_refused_before_its_first_candidate_leaves_no_folder(plan: Plan, tmp_path: Path) -> None:
    refused(plan, with_error=BadInput("versions differ"))
    assert sorted(path.name for path in tmp_path.glob("*/*")) == []
    refused(plan, with_error=BadInput("again, under the same name"))


@pytest.mark.parametrize(("error", "asks"), [(ClusterLost("gone"), False), (BadInput("late"), True)])
def test_a_study_that_has_begun_or_only_lost_its_cluster_stays(error: Exception, asks: bool, plan: Plan, tmp_path: Path) -> None:
    refused(plan, with_error=error, asks=asks)
    assert (tmp_path / "runs" / "x" / "ledger.db").exists()


def test_folders_that_were_there_before_stay(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "shared" / "x").mkdir(parents=True)
    (tmp_path / "shared" / "x" / "note").touch()
    refused(plan, with_error=BadInput("versions differ"))
    assert (tmp_path / "shared" / "x" / "note").exists()
    assert not (tmp_path / "runs" / "x").exists()
