"""Checks of registers: of each as it is declared, and of what one asks of another.  Raise SchemaError."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .layout import PAGE, SCALARS, FieldLayout, check_bits, check_type_enum
from .schema import NOTIFY, POSTED, Access, Register, RegisterFile, RegisterFileAt, SchemaError, Takes, Type, Widths

if TYPE_CHECKING:
    from .register_layout import PlacedRegister

MOST_PAGES = 16         # of one device: a route's offset has 16 bits
MOST_ROUTED = 512       # registers that the exit path takes: KVM has 1,000 ioeventfds for each bus


def whole(where: str, **numbers: object) -> None:
    """Raises SchemaError for what is no whole number."""
    for name, value in numbers.items():
        if type(value) is not int:
            raise SchemaError(where, f"{name} {value!r}", "a whole number")


def check_register(where: str, register: Register) -> None:
    whole(where, offset=register.offset, reset=register.reset, stride=register.stride)
    plain = Type(register.type.c_name, register.type.size, register.type.align, register.type.signed) \
        if isinstance(register.type, Type) else None
    if plain not in SCALARS:
        raise SchemaError(where, f"type {register.type!r}", "one scalar of 1, 2, 4 or 8 bytes, or an array of them")
    if register.type.count is not None and not (isinstance(register.type.count, int) and register.type.count > 0):
        raise SchemaError(where, f"an array of {register.type.count!r}", "a count of 1 or more")
    if not (isinstance(register.doc, str) and register.doc.strip()):
        raise SchemaError(where, "no meaning", "one line that says what it is")
    if not isinstance(register.access, Access):
        raise SchemaError(where, f"access {register.access!r}", "RO, RW, WO or W1C")
    if not isinstance(register.takes, Takes):
        raise SchemaError(where, f"taker {register.takes!r}", "USER, POSTED or NOTIFY")
    if register.widths is not None and not isinstance(register.widths, Widths):
        raise SchemaError(where, f"widths {register.widths!r}", "SPLIT or EXACT")
    _check_place(where, register)
    if not 0 <= register.reset < 1 << 8 * register.type.size:
        raise SchemaError(where, f"reset value {register.reset:#x}", f"one that fits {register.type.size} bytes")
    if register.access is Access.RO and register.takes is not Takes.USER:
        raise SchemaError(where, f"{register.takes.value} but read-only", "a register that is written")
    if register.access is Access.RO and register.interrupts:
        raise SchemaError(where, "interrupts=True but read-only", "a register that is written")
    if register.takes is POSTED and register.access is Access.W1C and register.type.size != 4:
        raise SchemaError(where, f"posted w1c of {register.type.size} bytes", "u32, as BPF has no narrower atomic")
    if register.halves and (register.type.size != 8 or register.access is Access.RO or register.access is Access.W1C):
        raise SchemaError(where, f"halves=True, {register.access.value}, {register.type.size} bytes",
                          "a register of 8 bytes that is written")
    if not isinstance(register.clears, str):
        raise SchemaError(where, f"clears {register.clears!r}", "another register's name")
    check_type_enum(where, register.type)
    check_bits(where, register.bits, register.type.size)


def _check_place(where: str, register: Register) -> None:
    width, stride = register.type.size, register.stride
    if stride and register.type.count is None:
        raise SchemaError(where, f"stride={stride:#x}", "an array, as in `reg(0x40, u32[8], ...)`")
    if stride and (stride < width or stride % width):
        raise SchemaError(where, f"stride={stride:#x}", f"a multiple of its width, {width}")
    end = register.offset + (stride or width) * ((register.type.count or 1) - 1) + width
    if register.offset < 0 or end > MOST_PAGES * PAGE:
        raise SchemaError(where, f"offset {register.offset:#x}, up to {end:#x}",
                          f"a place inside {MOST_PAGES * PAGE:#x} bytes")
    if register.offset % width:
        raise SchemaError(where, f"offset {register.offset:#x}", f"a multiple of its width, {width}")


def check_file(where: str, at: RegisterFileAt) -> None:
    if not (isinstance(at.kind, type) and issubclass(at.kind, RegisterFile)):
        raise SchemaError(where, f"regfile of {at.kind!r}", "a class derived from RegisterFile")
    if not (isinstance(at.doc, str) and at.doc.strip()):
        raise SchemaError(where, "no meaning", "one line that says what it is")
    whole(where, offset=at.offset, stride=at.stride)
    if at.count is not None and not (isinstance(at.count, int) and at.count >= 1):
        raise SchemaError(where, f"{at.count!r} register files", "1 or more")
    if at.offset < 0 or at.offset % 8 or at.stride <= 0 or at.stride % 8:
        raise SchemaError(where, f"offset {at.offset:#x}, stride {at.stride:#x}", "multiples of 8")
    end = at.offset + at.stride * (at.count or 1)
    if end > MOST_PAGES * PAGE:
        raise SchemaError(where, f"offset {at.offset:#x}, up to {end:#x}",
                          f"a place inside {MOST_PAGES * PAGE:#x} bytes")


def check_bit_names(where: str, found: list[FieldLayout]) -> None:
    """A view has fields and their named bits side by side."""
    names = {item.name for item in found}
    for item in found:
        for bits in item.type.bits:
            name = f"{item.name}_{bits.name}"
            if name in names:
                raise SchemaError(f"{where}.{item.name}.{bits.name}",
                                  f"bits that are called {name}, as another register or other bits are",
                                  "a name of their own")
            names.add(name)


# Registers at their places

def check_declared(where: str, found: dict[str, PlacedRegister]) -> None:
    """`channel[0].start` and `channel_start` are both taken by on_write_channel_start, and both CHANNEL_START in C."""
    plain: dict[str, str] = {}
    for name, register in found.items():
        bare = re.sub(r"\[\d+\]", "", name)
        if plain.setdefault(register.declared, bare) != bare:
            raise SchemaError(f"{where}.{bare}", f"a register that is called {register.declared} in C and in "
                              f"on_write_{register.declared}, as {plain[register.declared]} is", "a name of its own")


def check_routed(where: str, found: dict[str, PlacedRegister]) -> None:
    routed = sum(1 + r.halves for r in found.values() if r.takes is not Takes.USER)
    if routed > MOST_ROUTED:
        raise SchemaError(where, f"{routed} registers that are posted or notify",
                          f"at most {MOST_ROUTED}, as KVM has 1,000 ioeventfds for all devices of a bus")


def check_halves(where: str, name: str, register: PlacedRegister) -> None:
    if register.halves and register.takes is NOTIFY and (register.declared != name or register.page):
        raise SchemaError(where, "halves=True, takes=NOTIFY, in a register file or on another page",
                          "a register of the device itself, on its first page")


def check_clears(where: str, register: PlacedRegister, cleared: PlacedRegister | None,
                 all_: dict[str, PlacedRegister]) -> None:
    """`cleared` is what it names, if there is such a register."""
    if not register.clears:
        return
    if register.takes is not POSTED:
        raise SchemaError(where, f"clears {register.clears} but takes={register.takes.value}",
                          "takes=POSTED, which does the clearing")
    if cleared is None:
        raise SchemaError(where, f"clears {register.clears!r}", f"one of {', '.join(all_)}")
    if cleared.type.size != 4 or register.type.size != 4:
        raise SchemaError(where, "a clear that is not 4 bytes wide",
                          "u32 on both sides, as BPF has no narrower atomic")
    if cleared.page != register.page:
        raise SchemaError(where, f"clears {register.clears}, on another page", "both on one page")


def check_latches(where: str, register: PlacedRegister, all_: dict[str, PlacedRegister]) -> None:
    if not register.latches:
        return
    if register.takes is not NOTIFY:
        raise SchemaError(where, f"latches, but takes={register.takes.value}", "takes=NOTIFY: a doorbell latches")
    if register.declared not in all_ or register.page:
        raise SchemaError(where, "latches, and is in a register file or on another page",
                          "latches of a register of the device itself, on its first page")
    for name in register.latches:
        if name not in all_ or "[" in name or "." in name or \
                (all_[name].access is Access.WO and all_[name].takes is not POSTED):
            raise SchemaError(where, f"latches {name!r}", "names of registers that keep what is written to them")
        if all_[name].page:
            raise SchemaError(where, f"latches {name}, on another page", "registers of the first page")
