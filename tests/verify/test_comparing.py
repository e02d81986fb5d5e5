"""What differs of what two executors show."""

from vmm.verify.compare import _values


def test_a_value_that_one_of_them_lacks_is_a_difference():
    assert _values({}, {"queue 0 bytes": 8}, {}) == ("queue 0 bytes", "nothing", "8")
    assert _values({"queue 0 bytes": 8}, {}, {}) == ("queue 0 bytes", "8", "nothing")
    assert _values({"queue 0 bytes": 8}, {}, {"queue 0 bytes": "why"}) is None
    assert _values({"a": 1}, {"a": 1}, {}) is None
