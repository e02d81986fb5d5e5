"""`splitvmm trace`: what is shown of a recording, of which events, and in which form."""

import json
import os
import re
from xml.etree import ElementTree

import msgpack
import pytest

from tests.cli.test_cli import say
from tests.tracefile.made import HEADER, SERVED, event, recording, rung
from vmm.devmodel.recording import EventKind
from vmm.tracefile.flights import Flights
from vmm.tracefile.reader import Reader
from vmm.tracefile.summary import histogram, percentiles, summed_up


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.rec"
    path.write_bytes(recording(*SERVED))
    return path


@pytest.fixture
def trace(capsys, file):
    """trace(options) -> what is printed; fails if anything is said beside it."""
    def run(*options):
        status, out, err = say(capsys, "trace", file, *options)
        assert (status, err) == (0, "")
        return out
    return run


def test_lines(trace):
    lines = [re.sub(r" +", " ", line.strip()) for line in trace().splitlines()]
    assert lines[0] == "0.001000 ms vcpu3 kernel disk0.0 write queue_notify = 0"
    assert "0.003000 ms vcpu3 kernel disk0.0 visit 1 request, in 1.500 us" in lines
    assert "0.011100 ms vcpu3 kernel disk0.0 decline queue_notify = 0, for other_request" in lines
    assert "0.021000 ms 77 python disk0.0 take generation 4" in lines
    assert "0.101000 ms vcpu3 kernel disk0.1 submit request 9.1" in lines
    assert lines[-1] == "8.000000 ms 77 python disk0 write status = 0x334 (driver_ok mode=fast level=0x3)"


@pytest.mark.parametrize("value, said", [
    (0, "0"), (4, "4 (driver_ok)"), (0x10, "0x10 (mode=0x1)"), (1 << 20, "0x100000")])
def test_values_of_bits(trace, file, value, said):
    file.write_bytes(recording(event(EventKind.WRITE, value=value, offset=0x70, width=4)))
    assert trace().endswith(f" status = {said}\n")


def test_values_of_an_enum_and_odd_accesses(trace, file):
    file.write_bytes(recording(event(EventKind.WRITE, value=7, offset=0x80, width=2),
                               event(EventKind.WRITE, value=7, offset=0x80, width=4)))
    assert [line.split("write")[1].strip() for line in trace().splitlines()] == [
        "command = fill", "4 bytes at 0x80 = 0x7"]


@pytest.mark.parametrize("options, kinds", [
    (["--queue", "1"], "write submit visit decline complete collect"),
    (["--kind", "take,give"], "take give"),
    (["--reason", "ring_asleep"], "visit decline"),
    (["--from", "0.5", "--to", "1"], "complete collect"),
    (["--from", "0.0201", "--to", "0.022"], "take give"),
    (["--device", "disk0", "--kind", "interrupt"], "interrupt"),
])
def test_filters(trace, options, kinds):
    found = [json.loads(line) for line in trace("--json", *options).splitlines()]
    assert " ".join(each["kind"] for each in found) == kinds


@pytest.mark.parametrize("options, says", [
    (["--device", "disk9"], "--device disk9: no event is of it; wanted one of disk0"),
    (["--kind", "writes"], "wanted"), (["--from", "x"], "--from 'x'; wanted milliseconds"),
    (["--to", "nan"], "--to 'nan'; wanted milliseconds"), (["--queue", "-1"], "wanted a whole number"),
    (["--summary", "--chrome", "x"], "wanted one of them"),
    (["--picture", "x.gif"], "--picture x.gif: wanted a name that ends in .svg or .png"),
    (["--chrome", "/nowhere/x"], "--chrome /nowhere/x: No such file or directory"),
    (["--picture", "x.svg", "--kind", "read"], "--picture: no events"),
])
def test_mistakes(capsys, file, options, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = say(capsys, "trace", file, *options)
    assert status == os.EX_USAGE and says in err and err.count("\n") == 1
    assert not list(tmp_path.glob("x*"))


def test_a_cut_recording_is_shown_and_told(capsys, file):
    file.write_bytes(file.read_bytes()[:-4])
    status, out, err = say(capsys, "trace", file, "--summary")
    assert status == os.EX_USAGE and "17 events" in out and "an item that does not end; wanted the rest of it" in err
    file.write_bytes(msgpack.packb(HEADER))
    status, out, err = say(capsys, "trace", file)
    assert (status, out) == (0, "") and "no item ends it" in err


# the summary

def test_where_time_went(trace):
    found = json.loads(trace("--summary", "--json"))
    queues = {each["queue"]: each for each in found["queues"]}
    assert {key: queues[0][key] for key in ("requests", "handler_ns", "python_ns", "flight_ns")} == {
        "requests": 3, "handler_ns": 2300, "python_ns": 8000, "flight_ns": 0}
    assert {key: queues[1][key] for key in ("requests", "handler_ns", "python_ns", "flight_ns")} == {
        "requests": 1, "handler_ns": 2900, "python_ns": 0, "flight_ns": 400_000}
    assert queues[0]["from_doorbell_ns"]["percentiles"] == {
        "50": 20_000, "90": 20_000, "99": 20_000, "99.9": 20_000, "100": 20_000}
    assert queues[1]["from_doorbell_ns"]["percentiles"]["50"] == 401_000
    assert queues[1]["in_flight_ns"]["percentiles"]["50"] == 400_000
    assert found["declines"] == {"disk0": {"other_request": 1, "ring_asleep": 1}}
    assert (found["from_ns"], found["to_ns"]) == (1000, 8_000_000)


def test_tables(trace):
    said = trace("--summary")
    assert "17 events in 8.00 ms" in said and "disk0.1, in flight: 1; 50% 400 µs" in said
    assert re.search(r"disk0\.0 +│ +3 │ +2\.30 µs │ +8\.00 µs │ +- ", said)


def test_a_doorbell_of_before_counts_for_nothing_that_comes_later(file):
    """Requests that are found without one: what is collected looks at the queue again."""
    file.write_bytes(recording(rung(1000), event(EventKind.VISIT, 2000, 1, queue=0),
                               event(EventKind.COLLECT, 900_000, 2, queue=0)))
    flights = Flights()
    done = [found for each in Reader(file) if (found := flights.take(each))]
    assert [(each.requests, each.from_doorbell_ns) for each in done] == [(1, 1000), (2, None)]


def test_what_came_back_undone_is_not_done(file):
    file.write_bytes(recording(rung(1000), event(EventKind.SUBMIT, 1500, 5, queue=0),
                               event(EventKind.VISIT, 2000, queue=0),
                               event(EventKind.COMPLETE, 9000, 5, queue=0, reason=12)))
    assert not summed_up(Reader(file)).times["disk0", 0].requests


def test_a_visit_of_nothing_beside_another_counts_nothing(file):
    """A doorbell that was left to the handler inside ends before that does, whose request was told of already."""
    file.write_bytes(recording(rung(1000), event(EventKind.SUBMIT, 1500, 5, queue=0),
                               event(EventKind.VISIT, 2000, queue=0),
                               event(EventKind.COMPLETE, 9000, 5, queue=0),
                               event(EventKind.VISIT, 9100, queue=0),
                               event(EventKind.COLLECT, 9200, 1, queue=0)))
    assert summed_up(Reader(file)).times["disk0", 0].requests == 1


def test_percentiles_and_histogram():
    assert percentiles(list(range(1, 1001))) == {50: 500, 90: 900, 99: 990, 99.9: 999, 100: 1000}
    assert percentiles([]) == {} and histogram([]) == []
    assert histogram([0, 1, 5, 7, 8]) == [(0, 1, 1), (1, 2, 1), (2, 4, 0), (4, 8, 2), (8, 16, 1)]


# pictures

def test_chrome(trace, tmp_path):
    """As the format has it: named tracks, spans with a length, and each flight begun and ended under one name."""
    trace("--chrome", tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    for each in events:
        assert isinstance(each["pid"], int) and isinstance(each["tid"], int)
        assert each["ph"] in "MXibe"
        assert ("ts" in each) == (each["ph"] != "M") and ("dur" in each) == (each["ph"] == "X")
    names = {(each["pid"], each["tid"]): each["args"]["name"] for each in events if each["name"] == "thread_name"}
    assert {(each["pid"], each["tid"]) for each in events} <= set(names)
    assert {each["args"]["name"] for each in events if each["name"] == "process_name"} == {"threads", "disk0"}
    assert set(names.values()) == {"vcpu3", "77", "78", "queue 0", "queue 1", "device"}
    begun, ended = ([each for each in events if each["ph"] == phase] for phase in "be")
    assert [each["id"] for each in begun] == [each["id"] for each in ended] and begun[0]["ts"] == 101
    span = next(each for each in events if each["ph"] == "X")
    assert (span["ts"], span["dur"], names[span["pid"], span["tid"]]) == (1.5, 1.5, "queue 0")


def test_svg(trace, tmp_path):
    trace("--picture", tmp_path / "t.svg")
    drawn = ElementTree.parse(tmp_path / "t.svg").getroot()
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"vcpu3", "disk0.0", "disk0.1", "in flight"} <= set(texts)
    assert all(0 <= float(each.get("x", 0)) <= 1200 for each in drawn)


def test_png(trace, tmp_path):
    image = pytest.importorskip("PIL.Image")
    trace("--picture", tmp_path / "t.png")
    assert image.open(tmp_path / "t.png").size[0] == 1200


def test_a_picture_is_no_larger_for_more_events(trace, file, tmp_path):
    def drawn(count):
        file.write_bytes(recording(*(event(EventKind.VISIT, 1000 * n + 1000, queue=0, took=600) for n in range(count))))
        trace("--picture", tmp_path / "t.svg")
        return (tmp_path / "t.svg").stat().st_size
    assert drawn(20_000) < 1.1 * drawn(2000)
