"""A driver that breaks each rule that it can, by every half, kind of ring and transport (docs/villain.md).

At SPLITVMM_TEST_SCALE=4 and above in all of them; else each rule in as many that all are had."""

import pytest

from tests.villain.stage import SETTINGS, Stage
from tests.villain.table import violations
from tests.villain.trial import Verdict, attempt

ALL_FROM = 4            # SPLITVMM_TEST_SCALE
TABLE = violations()
CASES = [(setting, violation) for setting in SETTINGS for violation in TABLE
         if violation.fits(setting.rings, setting.transport)]


@pytest.fixture(scope="module")
def stage_of(tmp_path_factory, request):
    """Makes the stage of a setting, or has it from the case before; a new one after a failure."""
    kept = {}

    def make(setting, fresh=False):
        if fresh or setting not in kept:
            for stage in kept.values():
                stage.close()
            kept.clear()
            if setting.mode == "on":
                request.getfixturevalue("bpf_run")
                request.getfixturevalue("ring")
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
