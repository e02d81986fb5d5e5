"""Tests of Adder: `drive` and `boot` run each in every mode that this machine allows."""

import pytest
from adder import AdderDevice


@pytest.mark.parametrize("first, second", [(40, 2), (0, 0), (0xffffffff, 0), (1 << 31, (1 << 31) - 1)])
def test_a_sum_that_fits(drive, first, second):
    adder = drive(AdderDevice("adder"))
    adder.write("operand", first)
    handled = adder.write("add", second)
    assert (adder.read("sum"), adder.read("carries")) == (first + second, 0)
    assert handled == (adder.device.mode != "off")


def test_a_sum_that_does_not_is_declined(drive):
    adder = drive(AdderDevice("adder"))
    adder.write("operand", 0xffffffff)
    assert not adder.write("add", 3)
    assert (adder.read("sum"), adder.read("carries")) == (2, 1)
    assert adder.declined == ({} if adder.device.mode == "off" else {"OVERFLOW": 1})


def test_halves_are_in_step(in_step):
    in_step(AdderDevice)


def test_guest(boot):
    done = boot(AdderDevice)
    assert done.returncode == 0, done.stdout + done.stderr
