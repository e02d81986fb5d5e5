"""`splitvmm new`: the files of a new device, which works."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

from ..devmodel.c_names import HANDWRITTEN
from ..devmodel.declaration import check_name
from ..devmodel.headers import devices
from ..errors import UserError
from .load import mistakes_told

TEMPLATES = Path(__file__).parent / "templates"


def new(name: str, virtio: bool, where: Path) -> list[Path]:
    """Write the files of a device called `name` into the new folder `where`.  Raises UserError."""
    _check(name)
    made = []
    try:
        where.mkdir(parents=True)
        for template in sorted((TEMPLATES / ("virtio" if virtio else "register")).iterdir()):
            path = where / _filled(template.name.removesuffix(".in"), name)
            path.write_text(_filled(template.read_text(), name))
            made.append(path)
    except FileExistsError:
        raise UserError(f"{where}: is there already; wanted a folder to be made") from None
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}; wanted a folder to be made") from None
    return made


def _check(name: str) -> None:
    with mistakes_told():
        check_name("splitvmm new", name)
    if name in devices() or name in HANDWRITTEN or _is_module(name):
        raise UserError(f"splitvmm new: {name!r}, which Python or splitvmm has a module or device of; wanted another "
                        "name")


def _is_module(name: str) -> bool:
    """Whether Python has such a module, wherever this is run."""
    elsewhere = [place for place in sys.path if place and Path(place).resolve() != Path.cwd()]
    return name in sys.stdlib_module_names or PathFinder.find_spec(name, elsewhere) is not None


def _filled(text: str, name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("@name@", name).replace("@Name@", camel).replace("@NAME@", name.upper())
