"""Handlers with one mistake each, as they are often made: the example's, with something wrong in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARK = "/* wrong */"
BEFORE = "\tWRITE_ONCE(page->sum, operand + summand);\n"        # where the mistake goes in the example
SCRATCH = """struct mine {
	__u64 word[8];
	__u32 count;
};
DEVICE_SCRATCH(struct mine, 4)"""
MINE = """	struct mine *mine = device_scratch(device, access->value);

	if (!mine)
		return VERDICT_TO_USER;
"""


@dataclass(frozen=True)
class Mistake:
    """What is wrong in a handler, what is said of it, and what is advised; the line has a mark."""

    name: str
    says: str           # a regular expression
    todo: str           # words of the advice
    code: str = ""      # in the handler's function
    outside: str = ""   # before it
    where: bool = True  # whether it is said of a line
    by: str = ""        # the common header whose inlined code does what is wrong

    def source(self) -> tuple[str, int]:
        """The handler's C, and the number of the wrong line, or 0."""
        text = (Path(__file__).parent / "handler.c").read_text()
        assert text.count(BEFORE) == 1 and text.count("DEVICE_NO_SCRATCH\n") == 1
        text = text.replace(BEFORE, f"{self.code.rstrip()}\n{BEFORE}")
        text = text.replace("DEVICE_NO_SCRATCH\n", f"{self.outside or 'DEVICE_NO_SCRATCH'}\n")
        return text, text[:text.find(MARK)].count("\n") + 1 if self.where else 0


MISTAKES = [
    Mistake("unchecked", "R0 invalid mem access 'map_value_or_null'", "check the pointer", """
	struct mine *mine = device_scratch(device, access->value);

	mine->count = 1;	/* wrong */
""", SCRATCH),
    Mistake("unchecked_argument", "R1 type=map_value_or_null expected=", "check the pointer", """
	struct mine *mine = device_scratch(device, access->value);

	copy(mine, page, 8);	/* wrong */
""", SCRATCH, by="platform_bpf.h"),
    Mistake("unchecked_ram", "off=536870911 size=4", "check what ram_at() returned", """
	__u32 why;
	__u32 *word = ram_at(device, access->value, 4, &why);

	*word = 1;	/* wrong */
"""),
    Mistake("unchecked_ram_argument", "R1 type=scalar expected=fp, ", "check what it returned", """
	__u32 why;
	void *to = ram_at(device, access->value, access->width, &why);

	copy(to, page, access->width);	/* wrong */
""", by="platform_bpf.h"),
    Mistake("unchecked_apart", "R1 invalid mem access 'mem_or_null'", "an __apart function may be given it", """
	summand += count_of((struct mine *)page);
""", """struct mine { __u32 count; };
DEVICE_NO_SCRATCH
__apart __u32 count_of(struct mine *mine)
{
	return mine->count;	/* wrong */
}"""),
    Mistake("unbounded_index", "math between map_value pointer and register with unbounded min value",
            "bound an offset", f"""{MINE}
	mine->word[access->value] = 1;	/* wrong */
""", SCRATCH),
    Mistake("unbounded_index_in_function", "math between map_value pointer and register with unbounded min value",
            "bound an offset", """
	summand += byte_of(page, access->value);
""", """DEVICE_NO_SCRATCH
static __noinline __u32 byte_of(struct adder_page *page, __u64 index)
{
	return ((char *)page)[index];	/* wrong */
}"""),
    Mistake("large_index", "R. max value is outside of the allowed memory range", "bound an offset", f"""{MINE}
	mine->word[access->value & 15] = 1;	/* wrong */
""", SCRATCH),
    Mistake("beyond", "value_size=72 off=136 size=4, R. min value is outside", "at most value_size", f"""{MINE}
	WRITE_ONCE(mine[1].count, 1);	/* wrong */
""", SCRATCH),
    Mistake("unbounded_length", "R2 min value is negative", "bound an offset or length", """
	bpf_probe_read_kernel(page, access->value, state);	/* wrong */
"""),
    Mistake("large_length", "value_size=4096 off=0 size=5000, R1 min value is outside", "at most value_size", """
	if (access->value <= 5000)
		copy(page, state, access->value);	/* wrong */
""", by="platform_bpf.h"),
    Mistake("stack_index", "invalid variable-offset write to stack", "stay inside what is on the stack", """
	volatile char bytes[16] = {};

	bytes[access->value & 31] = 1;	/* wrong */
	summand += bytes[1];
"""),
    Mistake("stack_length", "invalid (write|indirect access) to stack R1 off=-16 size=24",
            "stay inside what is on the stack", """
	__u64 words[2] = {};

	bpf_probe_read_kernel(words, 24, page);	/* wrong */
	summand += words[1];
"""),
    Mistake("stack", "combined stack size of 2 calls is", "to DEVICE_SCRATCH", outside="""DEVICE_NO_SCRATCH
MAP(tails, BPF_MAP_TYPE_PROG_ARRAY, 1, 4, 4);	/* without a tail call, recent kernels give each function a stack */
static __noinline __u32 deep(__u32 x)
{
	volatile char bytes[300];

	bytes[x & 255] = 1;
	return bytes[x & 7];
}
SEC("raw_tp") int other(struct bpf_raw_tracepoint_args *context)
{
	volatile char bytes[300];

	bytes[context->args[0] & 255] = 1;
	if (deep(context->args[1]))
		bpf_tail_call(context, &tails, 0);
	return bytes[3];
}""", where=False),
    Mistake("endless", "infinite loop detected at insn", "a step function for loop()", """
	while (READ_ONCE(page->operand))	/* wrong */
		barrier();
"""),
    Mistake("long_loop", "The sequence of 8193 jumps is too complex", "a step function for loop()", """
	for (volatile __u32 i = 0; i < 100000; i++) if (READ_ONCE(page->operand) == i * i) summand += i;	/* wrong */
"""),
    Mistake("unknown_function", "extern 'checksum'", "call only functions", """
	summand += checksum(3);	/* wrong */
""", "extern int checksum(int x);\nDEVICE_NO_SCRATCH"),
    Mistake("unknown_kernel_function", "'checksum': not found in kernel", "call only functions", """
	summand += checksum(3);	/* wrong */
""", "extern int checksum(int x) __ksym;\nDEVICE_NO_SCRATCH"),
    Mistake("forbidden_helper", "(unknown func|cannot use helper) bpf_redirect#23", "call only functions", """
	summand += bpf_redirect(1, 0);	/* wrong */
"""),
    Mistake("misaligned", r"misaligned value access off .*\+6 size 4", "at multiples of their size", """
	fetch_add((__u32 *)((char *)page + 6), 1);	/* wrong */
"""),
    Mistake("not_set", "R3 !read_ok", "set a variable before it is read", """
	__u64 x;

	bpf_get_smp_processor_id();
	__asm__ volatile("%0 = r3" : "=r"(x));	/* wrong */
	summand += x;
"""),
    Mistake("constant", "write into map forbidden", "stay as they were loaded", """
	WRITE_ONCE(*(__u32 *)(__u64)&slot, 1);	/* wrong */
"""),
    Mistake("constant_by_helper", "write into map forbidden", "stay as they were loaded", """
	copy((void *)(__u64)&memory, page, 8);	/* wrong */
""", by="platform_bpf.h"),
    Mistake("pointer_shifted", "pointer arithmetic with <<= operator prohibited", "only add bounded numbers", """
	summand += *(__u32 *)((__u64)page << 1);	/* wrong */
"""),
    Mistake("pointer_masked", "bitwise operator .= on pointer prohibited", "only add bounded numbers", """
	summand += *(__u32 *)((__u64)page | 4);	/* wrong */
"""),
    Mistake("pointers_added", r"pointer \+= pointer prohibited", "only add bounded numbers", """
	summand += *(__u32 *)((__u64)page + (__u64)state);	/* wrong */
"""),
    Mistake("number", "invalid mem access 'scalar'", "use ram_at() for an address", """
	summand += *(__u32 *)access->value;	/* wrong */
"""),
    Mistake("kept", "invalid mem access 'scalar'", "look a pointer up again", f"""{MINE}
	WRITE_ONCE(mine->word[0], (__u64)page);
	summand += *(__u32 *)READ_ONCE(mine->word[0]);	/* wrong */
""", SCRATCH),
    Mistake("context", "R3 type=map_value expected=fp", "a context on the stack", """
	loop(8, step, page);	/* wrong */
""", """DEVICE_NO_SCRATCH
static long step(__u32 i, void *context)
{
	return 0;
}"""),
    Mistake("step", "At callback return the register R0 has", "return 0 or 1", """
	loop(8, step, &summand);
""", """DEVICE_NO_SCRATCH
static long step(__u32 i, void *context)
{
	return *(__u32 *)context;	/* wrong */
}"""),
    Mistake("apart", "R1 type=scalar expected=fp, Caller passes invalid args",
            "numbers and pointers to structs only", """
	summand += count_of((struct mine *)access->value);	/* wrong */
""", """struct mine { __u32 count; };
DEVICE_NO_SCRATCH
__apart __u32 count_of(struct mine *mine)
{
	return mine ? mine->count : 0;
}"""),
]
