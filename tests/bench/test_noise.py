"""What differs beyond noise."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.made import old, row
from vmm.bench import noise
from vmm.bench.noise import Verdict, mann_whitney, spread_verdict, verdict


def by_hand(a, b):
    """The definition: how many ways to part all values have a U as far from its mean, or further."""
    values = [*a, *b]

    def off(chosen):
        ours = [values[i] for i in chosen]
        others = [values[i] for i in range(len(values)) if i not in chosen]
        return abs(sum((x > y) + (x == y) / 2 for x in ours for y in others) - len(a) * len(b) / 2)
    ways = list(combinations(range(len(values)), len(a)))
    return sum(off(set(way)) >= off(set(range(len(a)))) for way in ways) / len(ways)


SMALL = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(SMALL, SMALL)
def test_p_is_that_of_all_orders(a, b):
    """Also with ties, and of as many or of fewer values."""
    assert mann_whitney(a, b) == pytest.approx(by_hand(a, b))


def test_p_of_a_table():
    assert mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert mann_whitney([1, 2, 3, 4, 6], [5, 7, 8, 9, 10]) == pytest.approx(4 / 252)


@pytest.mark.parametrize("shift", [0, 2.5, 4.5, 6.5])
def test_many_values_have_nearly_the_exact_p(monkeypatch, shift):
    a = [i * 1.0 for i in range(22)]
    b = [i + shift for i in range(22)]
    approximate = mann_whitney(a, b)
    monkeypatch.setattr(noise, "EXACT", 22)
    assert approximate == pytest.approx(mann_whitney(a, b), rel=0.25)


def test_many_values_that_are_all_the_same():
    assert mann_whitney([5.0] * 30, [5.0] * 30) == 1


WIDE = (0.7, 0.8, 1, 1.2, 1.3)


@pytest.mark.parametrize("ns, spread, said", [
    (2000, (1,) * 5, Verdict.NOISE), (2090, (1,) * 5, Verdict.NOISE), (2120, (1,) * 5, Verdict.SLOWER),
    (1890, (1,) * 5, Verdict.FASTER), (2400, WIDE, Verdict.NOISE), (4000, WIDE, Verdict.SLOWER),
    (1000, WIDE, Verdict.FASTER)])
@pytest.mark.parametrize("known", [lambda made: made, old])
def test_a_row_of_two_runs(ns, spread, said, known):
    """By each repetition, or by the range where no more was kept."""
    if known is old and spread == (1,) * 5 and said != Verdict.NOISE:
        said = Verdict.TOO_FEW      # no range is what one repetition looks like
    assert verdict(known(row(ns=2000)), known(row(ns=ns, spread=spread))) == said


def test_one_repetition_out_of_line_is_not_a_range():
    """Five and five may not overlap at all; of twenty one may."""
    hiccup = (0.98, 0.99, 1, 1.01, 3)
    assert verdict(row(ns=2000, spread=hiccup), row(ns=4000)) == Verdict.NOISE
    assert verdict(row(ns=2000, spread=hiccup * 4), row(ns=4000, spread=(1,) * 20)) == Verdict.SLOWER


@pytest.mark.parametrize("a, b, said", [
    (1, 1, Verdict.TOO_FEW), (1, 100, Verdict.TOO_FEW), (3, 3, Verdict.TOO_FEW), (4, 5, Verdict.TOO_FEW),
    (4, 6, Verdict.SLOWER), (5, 5, Verdict.SLOWER)])
def test_too_few_repetitions(a, b, said):
    of = {count: [1 + i / 1000 for i in range(count)] for count in (a, b)}
    assert verdict(row(ns=1000, spread=of[a]), row(ns=9000, spread=of[b])) == said


def test_rows_of_one_run_need_no_five_percent():
    tight = (0.999, 0.9995, 1, 1.0005, 1.001)
    a, b = row(ns=2000, spread=tight), row(ns=2040, spread=tight)
    assert (verdict(a, b), spread_verdict(a, b), spread_verdict(b, a)) == (
        Verdict.NOISE, Verdict.SLOWER, Verdict.FASTER)
