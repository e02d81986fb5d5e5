"""python -m tests.security: what hit other VMMs, tried on ours by every half, kind of ring and transport, and what came
of it, as a table in Markdown.

    python -m tests.security            all of it; a minute or two
    python -m tests.security --page     docs/security-table.md anew
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter, defaultdict

from tests.villain.__main__ import run
from tests.villain.table import Violation, violations
from tests.villain.trial import Verdict
from vmm.kvm.bpf import why_not
from vmm.virtqueue import uring

from .attack import attacks
from .page import PAGE, page, table
from .table import Defect, defects


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.security", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--page", action="store_true", help=f"write {PAGE}")
    given = parser.parse_args(arguments)
    if reason := uring.why_not() or why_not():
        sys.exit(f"security: {reason}; wanted io_uring and BPF, as all modes are run")
    logging.disable(logging.WARNING)        # what guests do wrong
    known = defects()
    verdicts: dict[tuple[str, str], Counter] = defaultdict(Counter)
    for (violation, mode), found in run(tried(known)).items():
        verdicts[violation.do.__name__, mode] += found
    if given.page:
        PAGE.write_text(page(known, verdicts))
    else:
        print(table(known, verdicts))
    return int(any(set(found) - {Verdict.PASS} for found in verdicts.values()))


def tried(known: list[Defect]) -> list[Violation]:
    """The attacks, and the villain's violations that rows name."""
    named = {name for defect in known for name in defect.villain}
    return attacks() + [each for each in violations() if each.do.__name__ in named]


if __name__ == "__main__":
    sys.exit(main())
