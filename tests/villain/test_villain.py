"""A driver that breaks each rule that it can, by every half, kind of ring and transport (docs/villain.md).

From SPLITVMM_TEST_SCALE=4 on each violation is done by all of them; below, in each mode by one kind of ring and one
transport, in turn."""

import pytest

from tests.scale import SCALE
from tests.villain.stage import Stage
from tests.villain.table import violations
from tests.villain.trial import Verdict, attempt, cases

ALL_FROM = 4            # SPLITVMM_TEST_SCALE
CASES = cases(violations(), all_settings=SCALE >= ALL_FROM)


@pytest.fixture(scope="module")
def stage_of(tmp_path_factory, request):
    """Makes the stage of a setting, or has it from the case before; a new one after a failure."""
    kept = {}

    def make(setting, fresh=False):
        if fresh or setting not in kept:
            for stage in kept.values():
                stage.close()
            kept.clear()
            request.getfixturevalue("ring")
            if setting.mode == "on":
                request.getfixturevalue("bpf_run")
            kept[setting] = Stage(setting, tmp_path_factory.mktemp("stage"))
        return kept[setting]
    yield make
    for stage in kept.values():
        stage.close()


@pytest.mark.parametrize(("setting", "violation"), CASES, ids=lambda each: getattr(each, "name", str(each)))
def test_violation(stage_of, setting, violation):
    result = attempt(stage_of(setting), violation)
    if result.verdict is not Verdict.PASS:
        stage_of(setting, fresh=True)
    assert result.verdict is Verdict.PASS, f"{violation.must}: {violation.done} {result.why}"
