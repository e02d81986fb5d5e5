"""KVM against the emulator, instruction by instruction.

    python -m tools.lockstep [--steps N] [--seed N] [--modes MODE,...] [--kinds KIND,...] [--json FILE]

So many steps in all, as many in one mode as in another; of each two fifths are single instructions that partial
emulation trusts, one fifth rows of these, two fifths others that the emulator runs.  The exit status is 1 if a
difference is found that known.py does not explain.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..arguments import listed
from .campaign import KINDS, Campaign, Found
from .world import MODES

SHARES = {"ours": 0.4, "row": 0.2, "other": 0.4}


def shares(steps: int, kinds: list[str]) -> dict[str, int]:
    """Of the steps in a mode, those of each kind."""
    return {kind: max(1, round(steps * SHARES[kind] / sum(SHARES[each] for each in kinds))) for kind in kinds}


def row_of(name: str, found: Found, seconds: float) -> dict[str, Any]:
    return {
        "mode": name, "s": round(seconds, 1), "steps": dict(found.steps), "ends": dict(found.ends.most_common()),
        "refused": dict(found.refused.most_common()), "names": len(found.names),
        "explained": {f"{known.fault}: {known.why}": count for known, count in found.explained.most_common()},
        "differences": {" ".join(key): count for key, count in found.differences.most_common()},
        "examples": [{"text": each.text, "code": each.code.hex(), "kind": each.kind, "general": each.general,
                      "fields": list(map(str, each.fields))} for each in found.examples]}


def show(rows: list[dict[str, Any]]) -> None:
    table = Table("mode", *KINDS, "mnemonics", "exceptions", "KVM refused", "explained", "unexplained", "s")
    for row in rows:
        ends = row["ends"]
        table.add_row(row["mode"], *(f"{row['steps'].get(kind, 0):,}" for kind in KINDS), str(row["names"]),
                      f"{sum(count for end, count in ends.items() if end[0] == '#'):,}",
                      f"{ends.get('refused', 0):,}", f"{sum(row['explained'].values()):,}",
                      f"{sum(row['differences'].values()):,}", f"{row['s']}")
    Console(width=140).print(table)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.lockstep")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    modes, kinds = listed(given.modes, list(MODES), parser), listed(given.kinds, list(KINDS), parser)
    rows, unexplained = [], 0
    for name in modes:
        began, campaign = time.monotonic(), Campaign(MODES[name], given.seed)
        try:
            found = campaign.run(shares(given.steps // len(modes), kinds))
        finally:
            campaign.close()
        rows.append(row_of(name, found, time.monotonic() - began))
        for each in found.examples:
            print(each, file=sys.stderr)
        unexplained += found.differences.total()
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows)
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
