"""A directory is another process's, and may say anything: it is told apart, and nothing of it reaches a terminal."""

import json
import os

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from rich.console import Console

from vmm.devmodel.view import TornRead
from vmm.sync import directory, shadow
from vmm.sync.directory import FORMAT, HEADER, MAGIC, ROOM, Directory, blocks_hash
from vmm.top import listing, process, sample
from vmm.top.rates import with_rates
from vmm.top.table import tables

ME = os.getpid()
ANYTHING = some.recursive(some.none() | some.booleans() | some.integers(-(1 << 63), (1 << 64) - 1) | some.floats() |
                          some.text(max_size=80) | some.binary(max_size=20),
                          lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=8), inner,
                                                                                         max_size=4), max_leaves=8)
KEYS = ("name", "schema", "version", "layout", "offload", "state", "at", "queues", "uring", "urings", "reasons")


@pytest.fixture(scope="module")
def ours():
    """A directory of this process, and where it is."""
    made = Directory({})
    at, = process.directories(ME)
    yield made, at
    made.close()


def device(**other):
    return {"name": "disk0", "schema": "blk", "version": 1, "layout": 7, "offload": "on", "state": 0, "at": 4096,
            "queues": 2, "uring": 0, "urings": 0, "reasons": ["busy"], **other}


def contents(**other):
    return {"blocks": blocks_hash(), "began_ns": 5, "executor": "kvm", "vcpus": [], "devices": [device()], **other}


def listed(ours, told):
    ours[0].write(told)
    return listing.listed(ME, ours[1])


def test_what_is_right(ours):
    vm = listed(ours, contents(vcpus=[1 << 40]))
    assert (vm.key, vm.executor, vm.vcpus) == ((ME, 5), "kvm", (1 << 40,))
    assert (vm.devices[0].name, vm.devices[0].queues) == ("disk0", 2)


def test_more_than_one_knows_is_left_alone(ours):
    assert listed(ours, contents(more=1, devices=[device(more=2)])).devices[0].name == "disk0"


@pytest.mark.parametrize("told, says", [
    ([], "directory: a list; wanted a map"), (contents(blocks=7), "its queues have layout 0x7; wanted 0x"),
    (contents(began_ns=-1), "directory.began_ns: -1; wanted 0 to"),
    (contents(executor="abacus"), "directory.executor: 'abacus'; wanted kvm, auto, emulator"),
    (contents(executor=None), "directory.executor: nothing; wanted a text"),
    (contents(vcpus={}), "vcpus: a dict; wanted a list"),
    (contents(vcpus=[0] * 65), "directory.vcpus: 65 of them; wanted at most 64"),
    (contents(devices=[device()] * 65), "65 of them; wanted at most 64"),
    (contents(devices=[7]), "directory.devices[0]: an int; wanted a map"),
    (contents(devices=[device(name=None)]), "devices[0].name: nothing; wanted a text"),
    (contents(devices=[device(name="x" * 65)]), "wanted a text of at most 64 characters"),
    (contents(devices=[device(queues=257)]), "devices[0].queues: 257; wanted 0 to 256"),
    (contents(devices=[device(queues=True)]), "devices[0].queues: a bool; wanted a whole number"),
    (contents(devices=[device(at=8)]), "devices[0].at: 8; wanted 448 or more, a multiple of 64"),
    (contents(devices=[device(at=4100)]), "devices[0].at: 4100; wanted 448 or more, a multiple of 64"),
    (contents(devices=[device(urings=3)]), "devices[0].urings: 3; wanted 0 to 2"),
    (contents(devices=[device(offload="fast")]), "devices[0].offload: 'fast'; wanted off, host, on"),
    (contents(devices=[device(reasons=["x"] * 24)]), "devices[0].reasons: 24 of them; wanted at most 23")])
def test_what_is_wrong(ours, told, says):
    with pytest.raises(process.Unreadable) as error:
        listed(ours, told)
    assert says in str(error.value)


@pytest.mark.parametrize("head, says", [
    (HEADER.pack(b"12345678", FORMAT, 2, 0, 0), "begins with 3132"),
    (HEADER.pack(MAGIC, 1, 2, 0, 0), f"format 1; wanted {FORMAT}, which this version of splitvmm reads"),
    (HEADER.pack(MAGIC, FORMAT, 2, ROOM, 0), f"{ROOM} bytes of directory; wanted at most {ROOM - HEADER.size}"),
    (HEADER.pack(MAGIC, FORMAT, 2, 1, 0) + b"\xc1", "no msgpack"), (HEADER.pack(MAGIC, FORMAT, 2, 0, 0), "no msgpack"),
    (HEADER.pack(MAGIC, FORMAT, 3, 0, 0), "never stands still")])
def test_headers(ours, head, says):
    ours[0]._memory[:len(head)] = head
    with pytest.raises(process.Unreadable, match=says):
        listing.listed(ME, ours[1])


@given(some.binary(max_size=200) | ANYTHING.map(msgpack.packb))
@settings(deadline=None)
def test_any_bytes(ours, packed):
    ours[0]._memory[:HEADER.size + len(packed)] = HEADER.pack(MAGIC, FORMAT, 2, len(packed), 0) + packed
    with pytest.raises(process.Unreadable):
        listing.listed(ME, ours[1])


@given(some.dictionaries(some.sampled_from(KEYS), ANYTHING),
       some.lists(some.integers(0, (1 << 64) - 1), max_size=3))
@settings(deadline=None)
def test_any_device(ours, changes, vcpus):
    """It is refused, or not there, or read: then it can be shown."""
    shadow.TRIES, tries = 3, shadow.TRIES
    try:
        vm = listed(ours, contents(devices=[device(**changes)], vcpus=vcpus))
        found = sample.take(vm)
    except (process.Unreadable, process.Gone, TornRead):
        return
    finally:
        shadow.TRIES = tries
    shown(with_rates(None, found))


@given(some.text(max_size=64), some.lists(some.text(max_size=64), max_size=3))
@settings(deadline=None)
def test_any_names(ours, name, reasons):
    """Whatever they are, a terminal gets what it can print."""
    raw = bytearray(1 << 16)
    at = int(shadow.ffi.cast("uintptr_t", shadow.ffi.from_buffer(raw))) + 63 & ~63
    vm = listed(ours, contents(devices=[device(name=name, schema=name, reasons=reasons, state=at)]))
    before, now = sample.take(vm), sample.take(vm)
    for queue in now.told["devices"][0]["queues"]:
        queue["declined"] = {reason: count + 1 for reason, count in queue["declined"].items()}
    shown(with_rates(before, sample.Sample(before.taken_ns + 1, now.told)))


def shown(told):
    console = Console(width=120, markup=False, emoji=False)
    with console.capture() as said:
        console.print(tables({"interval_s": 1, "vms": [{"pid": ME, **told}]}))
    assert all(each.isprintable() or each == "\n" for each in said.get())
    json.loads(json.dumps(told))


def test_a_mapping_that_is_named_alike(ours, monkeypatch, tmp_path):
    """It has to be the memfd itself, and its line in order."""
    mapped = "/memfd:splitvmm-directory (deleted)\n"
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "maps").write_text(f"7f00-7f01 rw-s 0 00:01 7 /tmp{mapped}zz rw-s 0 00:01 7   {mapped}"
                                         f"short {mapped}7f02-7f03 rw-s 00000000 00:01 7      {mapped}")
    monkeypatch.setattr(process, "PROC", tmp_path)
    assert process.directories(5) == [0x7f02] and list(process.processes()) == [5]
    with pytest.raises(process.Gone):
        process.directories(6)


@pytest.mark.parametrize("number, error, says", [
    (1, process.Unreadable, "kernel.yama.ptrace_scope=0"), (38, process.Unreadable, "CONFIG_CROSS_MEMORY_ATTACH"),
    (3, process.Gone, "^$"), (14, process.Gone, "^$")])
def test_what_the_system_refuses(monkeypatch, number, error, says):
    class Lib:
        def read_process(self, *_):
            return -number
    monkeypatch.setattr(process, "lib", Lib())
    with pytest.raises(error, match=says):
        process.Places(ME, [(0, 8)]).read()


def test_the_writer_and_this_test_mean_the_same_file():
    assert directory.NAME in process._MAPPING.decode()
