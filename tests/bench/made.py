"""Rows and files of rows that nobody measured."""

import json

MACHINE = {"kernel": "6.18.0", "cpu": "A processor", "cpus": 2, "tsc_khz": 2_600_000,
           "memcpy_bytes_per_s": 8_000_000_000}
SPREAD = (0.98, 0.99, 1, 1.01, 1.02)


def row(mode="on", ns=2000.0, spread=SPREAD, **changes) -> dict:
    """A row of `blk`, of so many repetitions around so many ns."""
    each = [ns * factor for factor in spread]
    return {"bench": "blk", "mode": mode, "op": "read", "pattern": "random", "bytes": 4096, "depth": 1, "wait": "poll",
            "ring": 0, "requests": 1000, "ns_per_request": ns, "ns_min": min(each), "ns_max": max(each),
            "ns_each": each, "floor_ns": 1000.0, "cpu_ns_per_request": ns, "cpu_vcpu_ns": ns, "cpu_ring_ns": 0.0,
            "exits_to_user": 0, "handled": 1000, "declined": 0, "why": "", **changes}


def net_row(mode="on", ns=2000.0, **changes) -> dict:
    return row(mode, ns, **{"bench": "net", "op": "transmit", "pattern": None, "bytes": 64, "ring": 3, "floor_ns": 0.0,
                            **changes})


def exit_row(op, mode, ns, **changes) -> dict:
    return row(mode, ns, bench="exits", op=op, pattern=None, bytes=4, **changes)


def linux_row(mode="on", ns=2e6, **changes) -> dict:
    return row(mode, ns, **{"bench": "linux", "wait": "interrupt", "ring": 3, "cache": "none", "floor_ns": 0.0,
                            "p99_ns": 3 * ns, "exits": 5000, "handled": None, "declined": None, **changes})


def old(made: dict) -> dict:
    """A row of before each repetition was kept."""
    return {key: value for key, value in made.items() if key != "ns_each"}


def write(path, *rows, machine=MACHINE, **more):
    """A file of them; its path."""
    path.write_text(json.dumps({"schema": 1, "date": "2025-11-24T21:07:31+00:00", "machine": machine,
                                "rows": list(rows), **more}))
    return path
