"""Debian packages of other releases than the system's own, through the system's own apt configuration: its first
mirror has them.  Nothing of the system is changed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .files import FILES, HERE

DEBS, APT = FILES / "debs", FILES / "apt"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class BuildError(Exception):
    """Something is missing; says what."""


def run(*command, **options) -> str:
    try:
        done = subprocess.run([str(c) for c in command], text=True, capture_output=True, **options)
    except FileNotFoundError:
        raise BuildError(f"no {command[0]}; wanted the packages of {HERE / 'packages.txt'}") from None
    if done.returncode:
        raise BuildError(f"{command[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout


def mirror() -> str:
    """The first Debian mirror that apt is configured with."""
    for path in (*sorted(Path("/etc/apt/sources.list.d").glob("*.sources")), Path("/etc/apt/sources.list"),
                 *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))):
        text = path.read_text() if path.exists() else ""
        for found in re.findall(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+)", text, re.MULTILINE):
            if "security" not in found:
                return found
    raise BuildError("no Debian mirror in /etc/apt; wanted one, to have kernels from")


def codename() -> str:
    """The system's release."""
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if not found:
        raise BuildError("/etc/os-release names no release; wanted Debian's")
    return found[1]


def apt_options(release: str | None) -> list[str]:
    """Options by which apt sees this release alone, with a state of its own; none for the system's (None)."""
    if release is None:
        return []
    home = APT / release
    for name in ("lists/partial", "cache/archives/partial"):
        (home / name).mkdir(parents=True, exist_ok=True)
    sources = home / "sources"
    sources.write_text(f"Types: deb\nURIs: {mirror()}\nSuites: {release}\nComponents: main\nSigned-By: {KEYRING}\n")
    sources = sources.rename(home / "release.sources")
    options = {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null",
               "Dir::Etc::preferencesparts": "/dev/null", "Dir::State::lists": home / "lists",
               "Dir::Cache": home / "cache", "APT::Sandbox::User": "root"}
    made = [f"-o{name}={value}" for name, value in options.items()]
    if not list((home / "lists").glob("*Packages*")):
        run("apt-get", *made, "-q", "update")
    return made


def download(package: str, release: str | None = None) -> Path:
    """A package's file, fetched if it is not here yet."""
    DEBS.mkdir(parents=True, exist_ok=True)
    marker = DEBS / f"{package}.{release or 'system'}"
    if not marker.exists():
        run("apt-get", *apt_options(release), "download", package, cwd=DEBS)
        newest = max(DEBS.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_ctime)
        marker.write_text(newest.name)
    return DEBS / marker.read_text()


def unpack(deb: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    run("dpkg-deb", "-x", deb, into)


def depends(package: str, release: str | None) -> str:
    """What it depends on, on one line."""
    found = re.search(r"^Depends: (.*)", run("apt-cache", *apt_options(release), "show", package), re.MULTILINE)
    return found[1] if found else ""


def kernel_packages(release: str | None, version: str) -> list[str]:
    """The package that `linux-image-amd64` stands for, and those that have parts of it in releases where it
    is empty itself.  `version` is how it begins, if that matters."""
    found = re.search(rf"\blinux-image-{re.escape(version)}\S*-amd64\b", depends("linux-image-amd64", release))
    if not found:
        raise BuildError(f"no kernel {version} in {release or 'the system release'}; wanted linux-image-amd64 to be "
                         "one")
    return [found[0], *re.findall(r"\blinux-(?:binary|modules)-\S+", depends(found[0], release))]
