"""Classes of values: what `@dataclass(frozen=True)` makes, in a third of the time.

Python compiles each method that a dataclass is given, which was a fifth of what a VM's start took in Python.  Here that
is __init__ alone; the others are functions that all records have in common.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(kind: Class) -> Class:
    """Equal if all fields are, and hashed by them.  That nobody changes a field is the type checker's to see."""
    made: Any = dataclass(repr=False, eq=False)(kind)
    names = [item.name for item in fields(made) if item.compare]
    made._compared = attrgetter(*names) if names else type      # of none: the class
    for name, method in (("__eq__", _equal), ("__hash__", _hash), ("__repr__", _repr)):
        if name not in kind.__dict__:
            setattr(made, name, method)
    return made


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self is other or type(self)._compared(self) == type(self)._compared(other)


def _hash(self: Any) -> int:
    return hash(type(self)._compared(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in fields(self) if item.repr)
    return f"{type(self).__qualname__}({shown})"
