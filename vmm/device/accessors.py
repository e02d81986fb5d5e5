"""Methods by which a device takes the guest's accesses, held against the registers that there are."""

from __future__ import annotations

import inspect

from ..devmodel.device_layout import layout_device
from ..devmodel.schema import Access, Device, Register, SchemaError, Takes

WRITE, READ = "on_write_", "on_read_"


def check_accessors(owner: object, schema: type[Device]) -> None:
    """Raises SchemaError for a method of `owner`, a class or an object, that no access would ever reach, and
    for a doorbell that the kernel half may decline and nobody would then take."""
    where = owner.__name__ if isinstance(owner, type) else type(owner).__name__
    registers = {register.declared: register for register in layout_device(schema).firsts.values()}
    if not registers:
        raise SchemaError(where, f"no registers in {schema.__name__}", "one that the guest reaches the device by")
    for method in dir(owner):
        for prefix, check in ((WRITE, _check_write), (READ, _check_read)):
            if method.startswith(prefix):
                name = method.removeprefix(prefix)
                if name not in registers:
                    raise SchemaError(f"{where}.{method}", f"no register {name} in {schema.__name__}",
                                      f"one of {', '.join(registers)}")
                check(f"{where}.{method}", registers[name])
                _check_takes(f"{where}.{method}", getattr(owner, method), len(registers[name].indices)
                             + (prefix == WRITE), isinstance(owner, type))
    for name, register in registers.items():
        if register.takes is Takes.NOTIFY and not hasattr(owner, WRITE + name):
            raise SchemaError(where, f"no {WRITE}{name}",
                              f"one, as {schema.__name__}.{name} has takes=NOTIFY, and its writes may be declined")


def _check_takes(where: str, method: object, count: int, unbound: bool) -> None:
    """It is called with an index for each array or file that the register is in, and with what is written."""
    wanted = (f"a function of {count} value{'' if count == 1 else 's'}: an index for each array or file that the "
              "register is in, and what is written")
    if not callable(method):
        raise SchemaError(where, repr(method), wanted)
    try:
        inspect.signature(method).bind(*[0] * (count + unbound))
    except TypeError as error:
        raise SchemaError(where, str(error), wanted) from None


def _check_write(where: str, register: Register) -> None:
    if register.access is Access.RO:
        raise SchemaError(where, "a register that is read-only", "one that the guest writes")
    if register.takes is Takes.POSTED:
        raise SchemaError(where, "a posted register, which is stored without asking anybody",
                          "a register with takes=NOTIFY, or without takes=")


def _check_read(where: str, register: Register) -> None:
    if register.access is Access.WO:
        raise SchemaError(where, "a register that is write-only", "one that the guest reads")
    if not register.read_effect:
        raise SchemaError(where, "a register that the guest may read from memory", "one with read_effect=True")
