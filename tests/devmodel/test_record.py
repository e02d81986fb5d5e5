from dataclasses import field, replace

import pytest

from vmm.devmodel.record import record


@record
class Point:
    """Two numbers, and what is no part of its value."""

    x: int
    y: int = 2
    note: str = field(default="", compare=False)


@record
class Named(Point):
    """One with a name."""

    name: str = ""

    def __repr__(self):
        return f"the point {self.name}"


@record
class Nothing:
    """Of no fields."""


def test_equal_by_fields_that_count():
    assert Point(1) == Point(1, 2, "x") != Point(1, 3) and hash(Point(1)) == hash(Point(1, note="y"))
    assert Named(1) != Point(1) and Point(1) != (1, 2)
    assert {Point(1), Point(1, note="z")} == {Point(1)}
    assert Nothing() == Nothing() and hash(Nothing()) == hash(Nothing())


def test_shown_and_replaced():
    assert repr(Point(1)) == "Point(x=1, y=2, note='')" and repr(Named(1, name="a")) == "the point a"
    assert replace(Named(1, name="a"), y=5) == Named(1, 5, "", "a")


def test_fields_are_asked_for():
    with pytest.raises(TypeError):
        Point()
