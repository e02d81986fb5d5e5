"""How a class body becomes a declaration; the words that are declared by are in schema.py."""

from __future__ import annotations

import keyword
import re
from collections.abc import MutableMapping
from typing import Any, TypeVar

Kind = TypeVar("Kind")

C_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while".split())


class SchemaError(ValueError):
    """A mistake in a declaration: names class and field, what was found, what was wanted."""

    def __init__(self, where: str, found: str, wanted: str):
        super().__init__(f"{where}: {found}; wanted {wanted}")
        self.where, self.found, self.wanted = where, found, wanted


class Declared:
    """What has a name of its own in a class body: a field, say, or a register."""


class Undeclared:
    """What declares something only when it is called."""


class _OnceOnly(dict):
    """A class body in which no name is declared twice (Python keeps the last without a word)."""

    def __init__(self, where: str):
        super().__init__()
        self.where = where

    def __setitem__(self, name, value):
        if name in self and not name.startswith("__"):
            raise SchemaError(f"{self.where}.{name}", "declared twice", "one declaration")
        super().__setitem__(name, value)


class Declaration(type):
    """Collects what a class body declares, in order; checks only names, as layout does the rest."""

    options: dict[str, Any]
    c_name: str

    @classmethod
    def __prepare__(mcs, name: str, bases: tuple[type, ...], /, **options: Any) -> MutableMapping[str, object]:
        return _OnceOnly(name)

    def __new__(mcs, name, bases, body, **options):
        cls = super().__new__(mcs, name, bases, dict(body))
        cls.options = options
        cls.c_name = snake(name)
        for attribute, value in body.items():
            if isinstance(value, Declared):
                check_name(f"{name}.{attribute}", attribute)
            elif isinstance(value, Undeclared):
                raise SchemaError(f"{name}.{attribute}", f"a type, {value!r}",
                                  "a field of it, as in `u32(\"what it is\")`")
        for attribute in body.get("__annotations__", {}):
            if attribute not in body:
                raise SchemaError(f"{name}.{attribute}", "an annotation alone",
                                  "a declaration, as in `x = u32(\"...\")`")
        return cls

    def __init__(cls, name, bases, body, **_options):
        super().__init__(name, bases, body)

    def of_kind(cls, kind: type[Kind]) -> dict[str, Kind]:
        """Name -> declaration of this kind, base classes' first, in order."""
        found: dict[str, Kind] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, kind):
                    found[name] = value
        return found


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def check_name(where: str, name: str) -> None:
    """The same name is used in Python and in C, so it must be good in both."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SchemaError(where, f"name {name!r}", "lower-case letters, digits and underscores")
    if name in C_KEYWORDS or keyword.iskeyword(name):
        raise SchemaError(where, f"name {name!r}", "a name that is no keyword of C or Python")
