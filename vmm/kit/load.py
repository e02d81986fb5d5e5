"""A device named on the command line: `FILE.py`, `FILE.py:Class`, `package.module:Class` or one of ours, `blk`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from ..device.register_device import RegisterDevice
from ..devmodel import SchemaError, layout_device
from ..devmodel.headers import device_header, device_of, devices, module_extra
from ..devmodel.layout import layout_block
from ..devmodel.schema import Block, Device
from ..errors import UserError

Kind = type[Device] | type[RegisterDevice]
Base = TypeVar("Base", Device, RegisterDevice)


@dataclass(frozen=True)
class Named:
    """What was named: the module, and the class in it: a schema, or a Python half."""

    module: ModuleType
    kind: Kind

    @property
    def schema(self) -> type[Device]:
        return self.kind if issubclass(self.kind, Device) else self.kind.schema

    @property
    def half(self) -> type[RegisterDevice] | None:
        """The Python half, if that was named."""
        return self.kind if issubclass(self.kind, RegisterDevice) else None

    @property
    def path(self) -> Path:
        assert self.module.__file__     # it declares something
        return Path(self.module.__file__).resolve()

    def header(self, schema: type[Device], source: str = "") -> str:
        """The C header of a schema that the module has, or uses; it says that it is from `source`, or the file's name.
        Raises UserError."""
        module = sys.modules.get(schema.__module__, self.module)
        with mistakes_told():
            return device_header(schema, source or Path(module.__file__ or schema.__module__).name,
                                 module_extra(module))


@contextmanager
def mistakes_told() -> Iterator[None]:
    """A mistake in a declaration is the user's, also one that no check of ours was made for."""
    try:
        yield
    except SchemaError as error:
        raise UserError(str(error)) from None
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise UserError(f"{place_of(error) or 'a declaration'}: {type(error).__name__}: {error}; wanted what `splitvmm "
                        "doc` and the reference have") from error


def place_of(error: BaseException) -> str:
    """FILE:LINE of a user's own code that an error is from, the innermost; nothing if none of it is there."""
    ours = str(Path(__file__).parent.parent)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if not frame.filename.startswith((ours, "<", sysconfig.get_path("stdlib")))]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def named(spec: str) -> Named:
    """What `spec` names; without a class, the one Python half that the module has.  Its schema is sound.  Raises
    UserError."""
    with mistakes_told():
        found = _named(spec)
        layout_device(found.schema)
    return found


def block_named(spec: str) -> tuple[type[Block], ModuleType] | None:
    """The block that `spec` names, and its module; None if it names anything else, `named` says what.  Raises
    UserError."""
    place, class_name = split(spec)
    if not class_name or place in devices():
        return None
    with mistakes_told():
        module = _from_file(Path(place)) if is_file(spec) else _from_name(place)
        kind = getattr(module, class_name, None)
        if isinstance(kind, type) and issubclass(kind, Block):
            layout_block(kind)
            return kind, module
    return None


def split(spec: str) -> tuple[str, str]:
    """What has the device, and the class or nothing: a path may have colons of its own."""
    found = re.fullmatch(r"(.*\.py)(?::([^/]*))?", spec, re.DOTALL)
    place, class_name = found.groups() if found else spec.partition(":")[::2]
    return place, class_name or ""


def is_file(spec: str) -> bool:
    return split(spec)[0].endswith(".py")


def _named(spec: str) -> Named:
    place, class_name = split(spec)
    module = _ours(place) or (_from_file(Path(place)) if is_file(spec) else _from_name(place))
    if class_name:
        kind = getattr(module, class_name, None)
        if not (isinstance(kind, type) and issubclass(kind, (RegisterDevice, Device))):
            raise UserError(f"{spec}: {f'{kind!r} is no device' if kind is not None else f'there is no {class_name}'}; "
                            f"wanted {_one_of([*halves(module), *schemas(module)])}")
        return Named(module, kind)
    kinds: Sequence[Kind] = halves(module) or schemas(module)
    if place in devices():
        kinds = list(filter(None, [device_of(module)]))
    if len(kinds) != 1:
        raise UserError(f"{spec}: {len(kinds)} devices; wanted {place}:CLASS, with {_one_of(kinds)}" if kinds else
                        f"{spec}: no device; wanted a class derived from RegisterDevice, VirtioDevice or Device")
    return Named(module, kinds[0])


def halves(module: ModuleType) -> list[type[RegisterDevice]]:
    """Python halves that the module itself has, those that are complete."""
    return [kind for kind in _own(module, RegisterDevice) if hasattr(kind, "schema")]


def schemas(module: ModuleType) -> list[type[Device]]:
    return _own(module, Device)


def _own(module: ModuleType, base: type[Base]) -> list[type[Base]]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)
            and kind is not base and kind.__module__ == module.__name__]


def _one_of(kinds: Sequence[Kind]) -> str:
    return f"one of {', '.join(kind.__name__ for kind in kinds)}" if kinds else "a module with a device"


def _ours(name: str) -> ModuleType | None:
    return devices().get(name)


def _from_file(path: Path) -> ModuleType:
    """A file, imported under its own name; what lies beside it can be imported by it."""
    if not path.stem.isidentifier():
        raise UserError(f"{str(path)!r}: no name of a module; wanted a device's FILE.py, of letters, digits and "
                        "underscores")
    path = path.resolve()
    if not path.is_file():
        raise UserError(f"{path}: {'is no file' if path.exists() else 'there is no such file'}; wanted a device's "
                        "FILE.py")
    loaded = sys.modules.get(path.stem)
    if loaded is not None:
        if (file := getattr(loaded, "__file__", None)) and Path(file).resolve() == path:
            return loaded
        raise UserError(f"{path}: another module is called {path.stem}; wanted a file with a name of its own")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return _imported(path.stem, str(path))


def _from_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"{name!r}; wanted FILE.py, package.module:CLASS, or one that comes with splitvmm: "
                        f"{', '.join(devices())}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    return _imported(name, name)


def _imported(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SchemaError:
        raise
    except ImportError as error:
        raise UserError(f"{where}: {error}; wanted a module that can be imported") from None
    except Exception as error:      # of the user's own code: where it was, without the way there
        raise UserError(f"{place_of(error) or where}: {type(error).__name__}: "
                        f"{getattr(error, 'msg', None) or error}") from None
    except SystemExit as error:
        raise UserError(f"{place_of(error) or where}: it ends the program, with {error.code!r}; wanted a module that "
                        "can be imported") from None
