"""Files of rows: written and read again, and those that cannot be used."""

import json

import pytest

from tests.bench.made import MACHINE, exit_row, linux_row, net_row, old, row, write
from vmm.bench import saved
from vmm.errors import UserError

VISIT = {"op": "1 read of 4 KiB", "longest_ns": 5000, "longest_median_ns": 4000.5, "handled": 3, "user_handled": 0}


@pytest.mark.parametrize("rows, visits", [
    ([exit_row("claimed", "off", 1000), exit_row("handled", "on", 1100)], [VISIT]),
    ([row("off"), row("on"), row("qemu-threads")], []), ([net_row("on"), net_row("qemu")], []),
    ([row("on"), row("on", notify="event", doorbells=5, interrupts=0), row("qemu-threads", interrupts=None)], []),
    ([linux_row("on"), linux_row("vhost"), linux_row("on", op="boot", cache=None, p99_ns=None)], [])])
def test_what_is_written_is_read(tmp_path, rows, visits):
    written = saved.Saved("", MACHINE, rows, visits, "2025-11-24T21:07:31+00:00")
    saved.write(written, tmp_path / "rows")
    found = saved.read(tmp_path / "rows")
    assert (found.machine, found.rows, found.visits, found.date) == (MACHINE, rows, visits, written.date)
    assert found.name == str(tmp_path / "rows") and found.benches == [rows[0]["bench"]]


def test_files_of_before_each_repetition_and_the_date_were_kept(tmp_path):
    path = tmp_path / "rows"
    path.write_text(json.dumps({"schema": 1, "machine": MACHINE, "rows": [old(row())]}))
    assert saved.read(path).date == "" and "ns_each" not in saved.read(path).rows[0]


def without(key):
    return {name: value for name, value in row().items() if name != key}


@pytest.mark.parametrize("text, says", [
    ("", "not JSON"), ("{", "not JSON"), (b"\xff\xfe\x00", "not JSON"), ("[" * 100_000, "not JSON"),
    ("9" * 5000, "not JSON"), ("[]", "[]; wanted an object with schema, machine and rows"),
    ("{}", "schema: not there; wanted 1"), ('{"schema": 2}', "schema: 2; wanted 1"),
    ('{"schema": true}', "schema: True; wanted 1"), ('{"schema": 1}', "machine: not there; wanted an object"),
    ('{"schema": 1, "machine": {}}', "rows: not there; wanted a list"),
    ('{"schema": 1, "machine": {}, "rows": []}', "machine.kernel: not there; wanted printable text")])
def test_files_that_are_none(tmp_path, text, says):
    path = tmp_path / "rows.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        saved.read(path)
    assert str(error.value).startswith(f"{path}: ") and says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("bad, says", [
    (5, "rows[1]: 5; wanted an object with bench"),
    (without("ns_min"), "rows[1].ns_min: not there; wanted a time in ns"),
    (row(bench="disk"), "rows[1].bench: 'disk'; wanted exits or blk or net or linux"),
    (row(bench=[]), "rows[1].bench: []"), (row(mode="fast"), "rows[1].mode: 'fast'; wanted off, host, on, or a peer's"),
    (row(op="\x1b[31m"), "rows[1].op: '\\x1b[31m'; wanted printable text"), (row(op=None), "rows[1].op: None"),
    (row(ns_min=0), "rows[1].ns_min: 0; wanted a time in ns, above 0"), (row(depth=True), "rows[1].depth: True"),
    (row(floor_ns=float("nan")), "rows[1].floor_ns: nan; wanted a number"),
    (row(floor_ns=True), "rows[1].floor_ns: True"), (row(ns_max=float("inf")), "rows[1].ns_max: inf"),
    (row(ns_max=10 ** 400), "rows[1].ns_max: 1000"),
    (row(ns_min=9000), "rows[1].ns_per_request: 2000.0; wanted it from ns_min (9000) to ns_max (2040.0)"),
    (row(ns_each=[]), "rows[1].ns_each: []; wanted a list of times"), (row(ns_each=[1, "2"]), "rows[1].ns_each"),
    (row(handled=None), "rows[1].handled: None; wanted a whole number"), (row(cache=[]), "rows[1].cache: []"),
    (old(linux_row()), "rows[1].ns_each: not there"),
    (row(notify="never"), "rows[1].notify: 'never'; wanted always or event"),
    (row(doorbells=-1), "rows[1].doorbells: -1; wanted a whole number, 0 or more, or null"),
    (row(interrupts=0.5), "rows[1].interrupts: 0.5; wanted a whole number"),
    (row("off", notify="always"), "rows[1] is rows[0] again (read 4 KiB x1 random, off)"),
    (row("off"), "rows[1] is rows[0] again (read 4 KiB x1 random, off)")])
def test_rows_that_are_none(tmp_path, bad, says):
    path = write(tmp_path / "rows", row("off"), bad)
    with pytest.raises(UserError) as error:
        saved.read(path)
    assert f"{path}: {says}" in str(error.value)


@pytest.mark.parametrize("change, says", [
    ({"machine": {**MACHINE, "cpus": "2"}}, "machine.cpus: '2'; wanted a whole number"), ({"rows": []}, "rows: none"),
    ({"machine": {**MACHINE, "left_out": ["\n"]}}, "machine.left_out: ['\\n']; wanted a list of printable texts"),
    ({"visits": [{**VISIT, "handled": -1}]}, "visits[0].handled: -1; wanted a whole number, 0 or more"),
    ({"date": 5}, "date: 5; wanted printable text")])
def test_the_rest_of_a_file(tmp_path, change, says):
    path = tmp_path / "rows"
    path.write_text(json.dumps({"schema": 1, "machine": MACHINE, "rows": [row()], **change}))
    with pytest.raises(UserError) as error:
        saved.read(path)
    assert says in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="none: No such file or directory; wanted a file that"):
        saved.read(tmp_path / "none")
