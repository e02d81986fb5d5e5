"""A driver that breaks each rule that it can, by every half, kind of ring and transport (docs/villain.md).

From SPLITVMM_TEST_SCALE=4 on each violation is done by all of them; below, in each mode by one kind of ring and one
transport, in turn."""

import pytest

from tests.scale import SCALE
from tests.villain.table import violations
from tests.villain.trial import Verdict, attempt, cases

ALL_FROM = 4            # SPLITVMM_TEST_SCALE
CASES = cases(violations(), all_settings=SCALE >= ALL_FROM)


@pytest.mark.parametrize(("setting", "violation"), CASES, ids=lambda each: getattr(each, "name", str(each)))
def test_violation(stage_of, setting, violation):
    result = attempt(stage_of(setting), violation)
    if result.verdict is not Verdict.PASS:
        stage_of(setting, fresh=True)
    assert result.verdict is Verdict.PASS, f"{violation.must}: {violation.done} {result.why}"
