"""The command line of `run`: whatever is written in its options is taken, or refused in one line."""

import os
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vmm.cli import options, pictures
from vmm.cli.main import make_parser
from vmm.cli.run import _machine_config, _reboots
from vmm.errors import UserError

OPTIONS = ("--disk --net --console --rng --mem --cpus --executor --machine-ports --serial --record --screenshot --show "
           "--append --flat --reboots --hugepages --vga --keys --stats").split()
KEYS = ("path fd tap socket mac queues queue_size serial mtu offload async poll idle_us transport packed spoof "
        "tx_packets tx_bytes cache readonly format name blocks max file device").split()
VALUES = "on off auto host pci mmio kvm emulator stdio null none raw drop 1 0 -1 0x10 1_0 256M 1e9 99999999999G".split()
LONG = "9" * 5000           # more digits than int() takes
NOT_TEXT = os.fsdecode(b"\xff\xfe")
WORD = st.one_of(st.sampled_from(KEYS), st.sampled_from(VALUES), st.sampled_from(["=", ",", ",,", ":", "--", LONG,
                 NOT_TEXT, "\n", "\x1b[31m", "é", "٣", "%s", "{0}"]), st.text(max_size=4), st.integers().map(str))
VALUE = st.one_of(st.lists(WORD, max_size=6).map("".join),
                  st.lists(st.tuples(st.sampled_from(KEYS), WORD).map("=".join), max_size=4).map(",".join))
MOST_S = 2.0                # that all of one command line may take, however long
PARSER = make_parser(only_run=True)


@settings(max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(OPTIONS), VALUE), min_size=1, max_size=3),
       st.sampled_from([["guest"], ["--kernel", "k"], ["--firmware", "seabios"]]))
@example([("--mem", LONG)], ["guest"])
@example([("--record", f"file,max={LONG}")], ["guest"])
@example([("--flat", "--")], ["guest"])
@example([("--mem", "--")], ["guest"])
@example([("--disk", f"a,serial={NOT_TEXT}")], ["guest"])
@example([("--net", f"tap=a,mac={LONG}")], ["guest"])
def test_options_of_run(given_options, guest):
    began = time.process_time()
    try:
        asked = PARSER.parse_args(["run", *guest, *[f"{option}={value}" for option, value in given_options]])
        config = _machine_config(asked)
        _reboots(asked)
        pictures.Shown(asked.screenshot, asked.show)
        for device in config.virtio:
            device.check()
        config.executor.check()
    except UserError as error:
        assert "wanted" in str(error) or "given" in str(error)
    except SystemExit as ended:
        assert ended.code == os.EX_USAGE
    assert time.process_time() - began < MOST_S


@pytest.mark.parametrize("option", ["--mem", "--flat", "--cpus", "--append", "--disk", "--serial"])
def test_two_dashes_are_a_value(option):
    """`--append=--` is what it says."""
    asked = vars(PARSER.parse_args(["run", "guest", f"{option}=--"]))
    assert asked[{"--append": "cmdline"}.get(option, option[2:])] in ("--", ["--"])


def test_a_serial_number_is_counted_in_bytes():
    assert options.disk(f"a,serial={NOT_TEXT * 10}").serial == NOT_TEXT * 10
    with pytest.raises(UserError, match="22 bytes; wanted at most 20"):
        options.disk(f"a,serial={NOT_TEXT * 11}")


def test_a_serial_number_that_is_no_text_reaches_the_guest(image, machine_of):
    machine = machine_of(image, "off", serial=NOT_TEXT)
    assert bytes(machine.devices[0].state.disk.serial)[:2] == b"\xff\xfe"
