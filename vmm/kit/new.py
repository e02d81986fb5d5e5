"""`splitvmm new`: the files of a new device, which works."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from ..devmodel.c_names import is_taken
from ..devmodel.declaration import check_name, snake
from ..devmodel.headers import devices
from ..errors import UserError
from ..paths import GUESTS
from .load import mistakes_told

TEMPLATES = Path(__file__).parent / "templates"


def new(name: str, virtio: bool, where: Path) -> list[Path]:
    """Write the files of a device called `name` into the new folder `where`.  Raises UserError."""
    _check(name)
    made = []
    try:
        where.mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"{where}: is there already; wanted a folder to be made") from None
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}; wanted a folder to be made") from None
    try:
        for template in sorted((TEMPLATES / ("virtio" if virtio else "register")).iterdir()):
            path = where / _filled(template.name.removesuffix(".in"), name)
            path.write_text(_filled(template.read_text(), name))
            made.append(path)
    except OSError as error:
        shutil.rmtree(where, ignore_errors=True)        # half of a device is none
        raise UserError(f"{where}: {error.strerror}; wanted a folder to be made") from None
    return made


def _check(name: str) -> None:
    with mistakes_told():
        check_name("splitvmm new", name)
    if name in devices() or is_taken(name) or _is_module(name) or name.startswith(("test_", "guest")):
        raise UserError(f"splitvmm new: {name!r}, which Python or splitvmm has a module or device of; wanted another "
                        "name")
    if snake(_camel(name)) != name:
        raise UserError(f"splitvmm new: {name!r}, which is {snake(_camel(name))!r} as a class would be called; wanted "
                        "underscores between words alone")
    if name in _names_of_guests():
        raise UserError(f"splitvmm new: {name!r}, which guests have already; wanted another name")


def _is_module(name: str) -> bool:
    """Whether Python has such a module, wherever this is run."""
    elsewhere = [place for place in sys.path if place and Path(place).resolve() != Path.cwd()]
    return name in sys.stdlib_module_names or PathFinder.find_spec(name, elsewhere) is not None


def _names_of_guests() -> set[str]:
    """Functions, variables and types of what guests include: the template's has a variable of the device's name."""
    return {name for header in ("guest.h", "virtio.h")
            for name in re.findall(r"\b([a-z]\w*)[(;[]", re.sub(r"/\*.*?\*/", "", (GUESTS / header).read_text(),
                                                            flags=re.DOTALL))}


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _filled(text: str, name: str) -> str:
    return text.replace("@name@", name).replace("@Name@", _camel(name)).replace("@NAME@", name.upper())
