"""Write the committed headers from the schemas, or check that they are up to date.

    python -m tools.headers [--check]
"""

import sys
from pathlib import Path

from vmm.devmodel.headers import committed

ROOT = Path(__file__).parent.parent


def main(arguments: list[str]) -> int:
    stale = []
    for name, text in committed().items():
        path = ROOT / name
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in arguments:
            stale.append(name)
        else:
            path.write_text(text)
            print(f"headers: wrote {name}")
    for name in stale:
        print(f"headers: {name} differs from its schema; run `make headers`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
