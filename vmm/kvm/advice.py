"""What a handler's author can do about a refusal, by what the kernel or libbpf says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """A mistake that is often made."""

    pattern: str        # of what is said
    todo: str
    whole: bool = False     # said of the program as a whole, not of the instruction that the verifier was at


# The first that fits counts, so what is said of one thing comes before what is said of many.
TABLE = (
    Advice(r"Operation not permitted",
           "be root, or have CAP_BPF and CAP_PERFMON (`splitvmm doctor` tells what is missing)"),
    Advice(r"unknown func|invalid func|cannot use helper|extern \(func ksym\)|failed to find BTF for extern|"
           r"kernel function \S+ is not allowed",
           "call only functions that the handler or kernel_devices/*.h defines, and helpers that raw tracepoints may "
           "use (bpf-helpers(7))"),
    Advice(r"No such file or directory", "have `make` build it"),
    Advice(r"combined stack size|stack size of subprog|previous frames is|call stack of",
           "move what is large from the stack, of which a chain of calls has 512 bytes, to DEVICE_SCRATCH", whole=True),
    Advice(r"too large\. Processed|too complex|back-edge|infinite loop",
           "make it a step function for loop(), with a constant limit to the count, and make __apart what is long in "
           "it (`__apart` before a function): the verifier walks these once, but a `for` as often as it goes round"),
    Advice(r"Caller passes invalid args|doesn't return scalar|reference type\(.*size cannot be determined",
           "give an __apart function numbers and pointers to structs only, in memory that was looked up and checked, "
           "and have it return a number; or make it `static __always_inline`"),
    Advice(r"At callback return",
           "let a step of loop() return 0 or 1 where the verifier sees it: `return done != 0;` or `return done & 1;`"),
    Advice(r"^R3 type=\w+ expected=fp$",
           "give loop() a context on the stack: a struct with the pointers that the step needs"),
    Advice(r"map value, value_size=\d+ off=5368[78]\d{4} ",       # 1 << REGION_SHIFT, and some bytes
           "check what ram_at() returned before using it: `if (!to) return reason;`"),
    Advice(r"_or_null\b",
           "check the pointer before using it: device_state(), device_page(), device_scratch() and ram_at() may return "
           "NULL, and an __apart function may be given it"),
    Advice(r"variable-offset|fp pointer and register|stack R\d+ off=",
           "stay inside what is on the stack: mask an index to the array's size (`i & (N - 1)`), and bound a length by "
           "it; or move it to DEVICE_SCRATCH"),
    Advice(r"misaligned",
           "use fetch_add() and its kin on words at multiples of their size, as the fields of a schema are"),
    Advice(r"invalid (indirect )?read from stack|!read_ok",
           "set a variable before it is read, and all of a struct before a helper gets it: `= {}`, or "
           "__builtin_memset() where it has padding"),
    Advice(r"write into map|rdonly|read-only|readonly",
           "write to device_state(), device_page() or DEVICE_SCRATCH: `memory`, `slot` and what else is `const` stay "
           "as they were loaded"),
    Advice(r"min value is outside of the allowed memory range",
           "let offset and length together be at most value_size, which is how large that memory is: compare them "
           "with a constant first, or mask them"),
    Advice(r"unbounded|max value is outside of the allowed memory range|min value is negative|pointer be out of bounds|"
           r"pointer offset -?\d+ is not allowed",
           "bound an offset or length right before its use: have it unsigned, and mask it (`i & (N - 1)`) or compare "
           "it with a constant, behind barrier_var() where the compiler drops that"),
    Advice(r"pointer arithmetic|pointer \+= pointer|on pointer prohibited|subtract pointer from",
           "only add bounded numbers to a pointer: mask, shift and align the number, before it is added"),
    Advice(r"invalid mem access '(scalar|inv)'|type=(scalar|inv) expected=",
           "use ram_at() for an address of the guest's, and check what it returned, or memory_at(), or another "
           "look-up: `if (!to) return reason;`; look a pointer up again that was kept in a map, and bound what is "
           "added to one"),
)


def advice(words: str) -> Advice | None:
    return next((row for row in TABLE if re.search(row.pattern, words, re.MULTILINE)), None)
