"""The models of the protocol, and what runs them: the small ones, and of the faults one for each property; `make model`
runs all."""

import shutil

import pytest

from tools import model
from tools.model import MODELS, NEVER_ENDS, NONE, read_all, search
from vmm.errors import UserError

ALL, FAULTS = read_all()
SMALL = ("any_order", "one_tag", "reset")
QUICK = ("NO_BARRIER_IN_ENTER", "NO_BARRIER_IN_TAKE", "NO_LOCK", "NO_LOOK_AGAIN_IN_PYTHON", "PUBLISHED_LATE_IN_PYTHON",
         "COUNTED_AFTER_LETTING_GO", "NO_BARRIER_AFTER_GIVE", "SERIAL_UNSEEN", "FLYING_UNSEEN", "RESET_DOES_NOT_WAIT")


@pytest.fixture(autouse=True)
def spin():
    for program in ("spin", "gcc"):
        if not shutil.which(program):
            pytest.skip(f"no {program} on this machine")


@pytest.mark.parametrize("chosen", [one for one in ALL if one.name in SMALL and one.path.stem == "in_flight"],
                         ids=lambda one: one.name)
def test_holds(chosen):
    found = search(chosen, quick=True)
    assert found.violated == NONE and found.states > 10000


@pytest.mark.parametrize("fault", [one for one in FAULTS if one.name in QUICK], ids=lambda one: one.name)
def test_rule_is_needed(fault):
    found = search(fault.model, fault.name, quick=True)
    assert found.violated == fault.violates and found.depth > 10


def test_each_property_has_a_fault():
    """One that cannot be violated says nothing."""
    text = (MODELS / "queue.pml").read_text()
    names = text.partition("mtype = {")[2].partition("}")[0]
    assert {name.strip() for name in names.split(",")} == {fault.violates for fault in FAULTS} - {NONE}
    assert {fault.violates for fault in FAULTS if fault.name in QUICK} == {name.strip() for name in names.split(",")}


SMALLEST = """/* A model.
 *
 * models:
 *	plain	-
 *
 * faults:
 *	STOPS	plain	nobody_waits_for_ever
 *	LOSES	plain	kept		of what is sent
 */
mtype = { kept };
#define property(name, holds)	if :: holds :: else -> printf("violated: %e\\n", name); assert(false) fi
byte sent, got;

active proctype sender() {
	skip;
#ifndef LOSES
	sent++
#endif
}

init {
#ifdef STOPS
	got == 1;
#endif
	timeout;
	property(kept, sent == 1)
}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one model, edited."""
    def make(old="", new=""):
        assert old in SMALLEST
        (tmp_path / "small.pml").write_text(SMALLEST.replace(old, new))
        return tmp_path
    return make


def test_what_is_violated_is_named(folder):
    models, faults = read_all(folder())
    assert [(one.name, one.macros) for one in models] == [("plain", ())]
    assert search(models[0], quick=True).violated == NONE
    assert [search(one.model, one.name, quick=True).violated for one in faults] == [NEVER_ENDS, "kept"]


@pytest.mark.parametrize("old, new, said", [
    (" *	STOPS	plain	nobody_waits_for_ever\n", "", "#ifdef STOPS; wanted it in a list"),
    ("#ifndef LOSES\n	sent++\n#endif", "sent++", "LOSES is listed; wanted an #ifdef of it"),
    ("STOPS	plain", "STOPS	other", "fault STOPS is of model other; wanted one of plain"),
])
def test_lists_are_what_the_file_has(folder, old, new, said):
    with pytest.raises(UserError, match=said):
        read_all(folder(old, new))


def test_what_spin_refuses_is_said(folder):
    models, _ = read_all(folder("sent == 1)", "sent == )"))
    with pytest.raises(UserError, match="spin -a small.pml: .*syntax error"):
        search(models[0], quick=True)


def test_table_says_what_is_wrong(folder, monkeypatch, capsys):
    monkeypatch.setattr(model, "read_all", lambda: read_all(folder("plain	kept", "plain	each_once")))
    assert model.main(["--faults", "LOSES"]) == 1
    out = capsys.readouterr().out
    assert "WRONG; wanted each_once" in out and "STOPS" not in out
    assert model.main(["plain"]) == 0 and "plain" in capsys.readouterr().out


def test_missing_spin_is_said(folder, monkeypatch, capsys):
    monkeypatch.setattr(model, "read_all", lambda: read_all(folder()))
    monkeypatch.setenv("PATH", "/nowhere")
    assert model.main([]) == 1
    assert capsys.readouterr().err == "model: spin is missing; wanted the Debian package of that name\n"


def test_a_word_that_no_model_has_is_an_error(capsys):
    assert model.main(["nothing"]) == model.main(["--faults", "nothing"]) == 1
    assert "model: 'nothing'; wanted a part of one of" in capsys.readouterr().err
