"""What hit others, tried on ours in each mode (docs/security-table.md)."""

import ast
import re
from pathlib import Path

import pytest

from tests.security.attack import attacks
from tests.security.page import PAGE, rows
from tests.security.table import Defect, defects
from tests.villain.table import violations
from tests.villain.trial import Verdict, attempt, cases

TESTS = Path(__file__).parents[1]
MODE_FIXTURES = {"mode", "mode_of_device", "driver", "net", "offload"}      # of conftest.py, and of what is built on it
DEFECTS = defects()


@pytest.mark.parametrize(("setting", "attack"), cases(attacks(), all_settings=False),
                         ids=lambda each: getattr(each, "name", str(each)))
def test_attack(stage_of, setting, attack):
    result = attempt(stage_of(setting), attack)
    if result.verdict is not Verdict.PASS:
        stage_of(setting, fresh=True)
    assert result.verdict is Verdict.PASS, f"{attack.must}: {attack.done} {result.why}"


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_each_is_tried_or_cannot_be(defect: Defect):
    assert bool(defect.tried) != bool(defect.never), "wanted tests of ours, or the reason why there are none"
    assert defect.source.startswith("https://") and defect.what and defect.where


@pytest.mark.parametrize("defect", [each for each in DEFECTS if each.tried], ids=lambda defect: defect.name)
def test_what_is_named_is_there(defect: Defect):
    assert set(defect.attacks) <= {each.do.__name__ for each in attacks()}
    assert set(defect.villain) <= {each.do.__name__ for each in violations()}
    for name in defect.tests:
        assert parameters(name) & MODE_FIXTURES, f"{name}: wanted a test that is run in each mode"
    for name in defect.modeless:
        parameters(name)


def parameters(name: str) -> set[str]:
    """Of a test function, `FILE::FUNCTION`.  Raises AssertionError if there is none."""
    file, function = name.split("::")
    for node in ast.parse((TESTS / file).read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return {argument.arg for argument in node.args.args}
    raise AssertionError(f"{name}: no such test")


def test_no_attack_is_of_no_defect():
    named = {name for defect in DEFECTS for name in defect.attacks}
    assert named == {each.do.__name__ for each in attacks()}


def test_names_are_told_once():
    names = [defect.name for defect in DEFECTS]
    assert len(names) == len(set(names)) and len(names) >= 60


def test_the_page_has_all_of_it():
    """But for what came of it, which `python -m tests.security` writes."""
    page = PAGE.read_text()
    missing = [row for row in rows(DEFECTS, {}) if re.sub(r"\| - \| - \| - \|$", "", row) not in page]
    assert not missing, "wanted docs/security-table.md by `python -m tests.security --page`"
