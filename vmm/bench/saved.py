"""The file of rows that --json writes (schema 1, documented in vmm/bench/README.md), and reading it again."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .. import files
from ..errors import UserError
from .rows import ALWAYS, BENCHES, EVENT, MODES, PEERS, identity, label
from .tail import PER_MILLE

SCHEMA = 1
MOST_BYTES = 64 << 20   # of a file
_MOST = 1e15        # ns: eleven days; nothing here takes as long, and no sum of such figures overflows


@dataclass(frozen=True)
class Saved:
    """What one run measured; `date` is empty in files of before it was kept."""

    name: str
    machine: dict
    rows: list[dict]
    visits: list[dict] = field(default_factory=list)
    date: str = ""

    @property
    def benches(self) -> list[str]:
        return [bench for bench in BENCHES if any(row["bench"] == bench for row in self.rows)]

    def of(self, bench: str) -> list[dict]:
        return [row for row in self.rows if row["bench"] == bench]


def write(saved: Saved, path: Path) -> None:
    visits = {"visits": saved.visits} if saved.visits else {}
    path.write_text(json.dumps({"schema": SCHEMA, "date": saved.date, "machine": saved.machine, "rows": saved.rows,
                                **visits}, indent=1) + "\n")


@dataclass(frozen=True)
class _Kind:
    wanted: str
    fits: Callable[[object], bool]


def _is_number(value) -> bool:
    return type(value) in (int, float) and -_MOST < value < _MOST       # which NaN is not


_TEXT = _Kind("printable text", lambda v: isinstance(v, str) and v.isprintable())       # it goes to terminals
_NUMBER = _Kind("a number", _is_number)
_TIME = _Kind("a time in ns, above 0", lambda v: _is_number(v) and v > 0)
_TIMES = _Kind("a list of times in ns, above 0", lambda v: isinstance(v, list) and bool(v) and all(
    map(_TIME.fits, v)))
_RATES = _Kind("a list of numbers a second, 0 or more", lambda v: isinstance(v, list) and all(
    _is_number(rate) and rate >= 0 for rate in v))
_WHOLE = _Kind("a whole number", lambda v: type(v) is int and _is_number(v))
_COUNT = _Kind("a whole number, 0 or more", lambda v: _WHOLE.fits(v) and v >= 0)
_TEXTS = _Kind("a list of printable texts", lambda v: isinstance(v, list) and all(map(_TEXT.fits, v)))
_OBJECT = _Kind("an object", lambda v: isinstance(v, dict))
_LIST = _Kind("a list", lambda v: isinstance(v, list))


def _or_null(kind: _Kind) -> _Kind:
    return _Kind(f"{kind.wanted}, or null", lambda v: v is None or kind.fits(v))


_MODE = _Kind(f"{', '.join(MODES)}, or a peer's: {' or '.join(PEERS)} and more", lambda v: _TEXT.fits(v) and (
    v in MODES or v.startswith(PEERS)))
_NOTIFY = _Kind(f"{ALWAYS} or {EVENT}", lambda v: v in (ALWAYS, EVENT))
_MACHINE = {"kernel": _TEXT, "cpu": _TEXT, "cpus": _COUNT, "memcpy_bytes_per_s": _NUMBER}
_MACHINE_MAY = {"tsc_khz": _NUMBER, "foreign_exit_added_ns": _NUMBER, "left_out": _TEXTS}
_ROW = {"bench": _Kind(" or ".join(BENCHES), lambda v: v in BENCHES), "mode": _MODE, "op": _TEXT,
        "pattern": _or_null(_TEXT), "bytes": _COUNT, "depth": _COUNT, "wait": _TEXT, "ring": _COUNT,
        "requests": _COUNT, "ns_per_request": _TIME, "ns_min": _TIME, "ns_max": _TIME, "floor_ns": _NUMBER,
        "cpu_ns_per_request": _NUMBER, "cpu_ring_ns": _NUMBER, "exits_to_user": _WHOLE}
_OURS = {"handled": _WHOLE, "declined": _WHOLE}     # what rows of all but `linux` have
_OURS_MAY = {"why": _TEXT, "ns_each": _TIMES, "cache": _or_null(_TEXT), "storage": _or_null(_TEXT),
             "vcpus": _or_null(_COUNT), "host_cpus": _COUNT, "each_per_s": _RATES, "retries": _COUNT,
             "spared": _COUNT, "notify": _NOTIFY, "doorbells": _or_null(_COUNT), "interrupts": _or_null(_COUNT),
             "vms": _COUNT, "beside": _TEXT, "placed": _TEXT, "own_bytes": _COUNT, "kernel_bytes": _COUNT,
             "waited_ns": _NUMBER,
             **dict.fromkeys(PER_MILLE, _or_null(_TIME))}
_LINUX = {"handled": _or_null(_WHOLE), "declined": _or_null(_WHOLE), "ns_each": _TIMES, "cache": _or_null(_TEXT),
          "p99_ns": _or_null(_NUMBER), "exits": _COUNT}
_VISIT = {"op": _TEXT, "longest_ns": _NUMBER, "longest_median_ns": _NUMBER, "handled": _COUNT, "user_handled": _COUNT}


def read(path: Path) -> Saved:
    """Raises UserError about what cannot be used: which file, where in it, what was found and wanted."""
    try:
        found = json.loads(files.read(path, MOST_BYTES))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; wanted a file that `splitvmm bench --json` wrote") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}; wanted a file that `splitvmm bench --json` wrote") from None
    return _checked(os.fsencode(path).decode(errors="replace"), found)


def _checked(name: str, found) -> Saved:
    if not isinstance(found, dict):
        raise UserError(f"{name}: {_short(found)}; wanted an object with schema, machine and rows")
    _check(name, "", found, {"schema": _Kind(str(SCHEMA), lambda v: v == SCHEMA and type(v) is int),
                             "machine": _OBJECT, "rows": _LIST}, {"date": _TEXT, "visits": _LIST})
    _check(name, "machine", found["machine"], _MACHINE, _MACHINE_MAY)
    if not found["rows"]:
        raise UserError(f"{name}: rows: none; wanted one at least")
    for number, row in enumerate(found["rows"]):
        _check_row(name, f"rows[{number}]", row)
    _check_unique(name, found["rows"])
    for number, visit in enumerate(found.get("visits", [])):
        _check(name, f"visits[{number}]", visit, _VISIT)
    return Saved(name, found["machine"], found["rows"], found.get("visits", []), found.get("date", ""))


def _check_row(name: str, where: str, row) -> None:
    _check(name, where, row, _ROW)
    linux = row["bench"] == "linux"
    _check(name, where, row, _LINUX if linux else _OURS, {} if linux else _OURS_MAY)
    if not row["ns_min"] <= row["ns_per_request"] <= row["ns_max"]:
        raise UserError(f"{name}: {where}.ns_per_request: {row['ns_per_request']}; wanted it from ns_min "
                        f"({row['ns_min']}) to ns_max ({row['ns_max']})")


def _check_unique(name: str, rows: list[dict]) -> None:
    """Two rows that are the same cannot be told apart in another file."""
    seen: dict[tuple, int] = {}
    for number, row in enumerate(rows):
        if (before := seen.setdefault(identity(row), number)) != number:
            raise UserError(f"{name}: rows[{number}] is rows[{before}] again ({label(row)}, {row['mode']}); wanted "
                            "each once")


def _check(name: str, where: str, found, must: dict[str, _Kind], may: dict[str, _Kind] | None = None) -> None:
    """Keys that are there and of their kind; others are none of ours."""
    if not isinstance(found, dict):
        raise UserError(f"{name}: {where}: {_short(found)}; wanted an object with {', '.join(must)}")
    for key, kind in (must | (may or {})).items():
        at = f"{where}.{key}" if where else key
        if key not in found:
            if key in must:
                raise UserError(f"{name}: {at}: not there; wanted {kind.wanted}")
        elif not kind.fits(found[key]):
            raise UserError(f"{name}: {at}: {_short(found[key])}; wanted {kind.wanted}")


def _short(value) -> str:
    return reprlib.repr(value)
