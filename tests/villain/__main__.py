"""python -m tests.villain: each rule that a driver can break, broken on each kind of device by every half, kind of ring
and transport, and what came of it, as a table in Markdown.

    python -m tests.villain              all of it
    python -m tests.villain --page       docs/villain.md anew, from all of it
    python -m tests.villain 2.7.5 5.2    sections that begin so
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter, defaultdict
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from vmm.kvm.bpf import why_not
from vmm.virtqueue import uring

from .page import PAGE, page, table
from .stage import Stage
from .table import Violation, violations
from .trial import Verdict, attempt, cases


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.villain", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="of VIRTIO 1.2, or the beginning of some")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE}")
    given = parser.parse_args(arguments)
    if reason := uring.why_not() or why_not():
        sys.exit(f"villain: {reason}; wanted io_uring and BPF, as all modes are run")
    chosen = [each for each in violations() if not given.sections or any(
        f"{each.section}.".startswith(f"{section}.") for section in given.sections)]
    if not chosen:
        sys.exit(f"villain: no rule of {', '.join(given.sections)}; wanted sections of the table")
    logging.disable(logging.WARNING)        # what guests do wrong
    verdicts = run(chosen)
    if given.page:
        PAGE.write_text(page(chosen, verdicts))
    else:
        print(table(chosen, verdicts))
    return int(any(set(found) - {Verdict.PASS} for found in verdicts.values()))


def run(chosen: list[Violation]) -> dict:
    """Verdicts, counted by (violation, mode); what failed is told on standard error."""
    found: dict = defaultdict(Counter)
    with TemporaryDirectory() as folder, ExitStack() as stages:
        stage = None
        for setting, violation in cases(chosen, all_settings=True):
            if stage is None or stage.setting != setting:
                stages.close()
                stage = stages.enter_context(closing(Stage(setting, Path(mkdtemp(dir=folder)))))
            result = attempt(stage, violation)
            found[violation, setting.mode][result.verdict] += 1
            if result.verdict is not Verdict.PASS:
                print(f"{result.verdict.value} {setting} {violation.name}: {result.why}", file=sys.stderr)
                stage = None        # the next one has a machine of its own
    return found


if __name__ == "__main__":
    sys.exit(main())
