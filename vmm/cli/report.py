"""`splitvmm doctor`: what is found on this host, as a table or as JSON."""

from __future__ import annotations

import os
import sys


def add(commands) -> None:
    doctor = commands.add_parser(
        "doctor", help="check this host: what works, what will be used, how to get the rest",
        description="Check this host: what works, what each part is needed for, what will be used here, "
        "and how to get the rest.  Ends with 0 if KVM can run guests here, else with 1, also where --executor emulator "
        "can.")
    doctor.set_defaults(func=report, parser=doctor)
    doctor.add_argument("--json", action="store_true", help="print it as JSON: \"findings\", each with what, good, "
                        "found, use and remedy; \"runs\", whether KVM can run guests here; \"emulator\", whether "
                        "--executor emulator can; \"offload_auto\", the mode that auto takes with KVM, or null; and "
                        "\"because\", why that one, or why KVM runs no guest")


def report(options) -> int:
    return _json() if options.json else _table()


def _json() -> int:
    import json
    from dataclasses import asdict

    from . import doctor
    findings = [asdict(check()) for check in doctor.CHECKS]
    runs, chosen = doctor.choice()
    mode, _, why = chosen.partition(", ") if runs else (None, "", chosen)
    json.dump({"findings": findings, "runs": runs, "emulator": doctor.choice("emulator")[0], "offload_auto": mode,
               "because": why}, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0 if runs else 1


def _table() -> int:
    from rich.console import Console
    from rich.table import Table

    from . import doctor
    console = Console(width=None if os.isatty(1) else 118, markup=False, highlight=False)
    table = Table()
    for column in ("", "found", "needed for", "how to get it"):
        table.add_column(column)
    for check in doctor.CHECKS:
        finding = check()
        table.add_row(f"{'ok     ' if finding.good else 'missing'} {finding.what}", finding.found, finding.use,
                      finding.remedy)
    console.print(table)
    runs, chosen = doctor.choice()
    console.print(f"offload=auto takes here: {chosen}" if runs else _without_kvm(chosen))
    return 0 if runs else 1


def _without_kvm(why: str) -> str:
    from . import doctor
    runs, chosen = doctor.choice("emulator")
    if not runs:
        return f"no guest can run here: {why}"
    return f"KVM runs no guest here: {why}\n--executor emulator does; offload=auto takes there: {chosen}"
