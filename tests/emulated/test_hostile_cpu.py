"""What a guest has its emulated vCPU do that no friendly one does: it ends that guest at most, and says why."""

import threading
import time

import pytest

from vmm.devmodel.vcpu import Activity
from vmm.kvm.vcpu import UnhandledExit

pytest.importorskip("unicorn")

from tests.emulated.bare import CODE, DEVICE, HALT, RAM_BYTES, ROM, bare

SYSCALL_ENABLE = 1


@pytest.fixture
def guest():
    with bare() as made:
        yield made


def test_the_highest_selectors_of_syscalls(guest):
    """The stack's is 8 higher, in 16 bits."""
    guest.start(b"\x0f\x05" + HALT, long=True)
    guest.state.control.efer |= SYSCALL_ENABLE
    guest.state.msrs.star, guest.state.msrs.lstar = 0xffff << 32, CODE + 2
    guest.run()
    assert guest.state.segments.cs.selector == 0xfffc and guest.state.segments.ss.selector == 4


def test_the_highest_selectors_of_sysenter(guest):
    guest.start(b"\x0f\x34" + HALT)
    guest.state.msrs.sysenter_cs, guest.state.msrs.sysenter_eip = 0xffff, CODE + 2
    guest.run()
    assert guest.state.segments.cs.selector == 0xfffc and guest.state.segments.ss.selector == 4


# what Unicorn takes and a CPU does not, wherever it is

INVALID_OPCODE, PROTECTION = 6, 13
APIC_PRIORITY = 0xfee00080
BAD_EFER = b"\xb9\x80\x00\x00\xc0\xb8\xff\xff\x00\x00\x31\xd2\x0f\x30" + HALT        # in rcx, eax and edx; WRMSR
LOOKS_LIKE_IT = b"\xb8\x0f\x30\x00\x00" + HALT                                       # a constant does


@pytest.mark.parametrize("at", [CODE, CODE + 0xff2, CODE + 0xff3, CODE + 0xff8, 0, 1],
                         ids=["first", "its end", "in two pages", "in the next page", "0", "1"])
def test_a_register_that_faults(guest, at):
    guest.start(BAD_EFER, at)
    guest.run()
    assert guest.fault == PROTECTION


def test_a_register_that_faults_behind_one_that_does_not(guest):
    """The block behind RDMSR of IA32_APIC_BASE is the second that is translated."""
    guest.start(b"\xb9\x1b\x00\x00\x00\x0f\x32" + BAD_EFER)
    guest.run()
    assert guest.fault == PROTECTION


@pytest.mark.parametrize("at", [CODE, CODE + 0xffd, 0, 1])
def test_what_only_looks_like_it(guest, at):
    guest.start(LOOKS_LIKE_IT, at)
    guest.run()
    assert guest.state.general.rax == 0x300f and guest.fault is None


@pytest.mark.parametrize("code", [b"\xf0\x0f\x22\xc0", b"\x66\xf0\x0f\x30", b"\xf0\x0f\x32"])
def test_locked_ones(guest, code):
    """#UD (SDM 2, LOCK); capstone does not decode them."""
    guest.start(code + HALT)
    guest.run()
    assert guest.fault == INVALID_OPCODE


@pytest.mark.parametrize("priority", [3, 15])
def test_the_priority_is_the_apics_at_once(guest, priority):
    """SDM 3, 11.8.6: mov %rbx, %cr8; mov (%rdx), %eax; mov %cr8, %rcx"""
    code = bytes.fromhex("440f22c3 8b02 440f20c1") + HALT
    guest.start(code, long=True, rbx=priority, rdx=APIC_PRIORITY)
    guest.run()
    general = guest.state.general
    assert guest.fault is None and (general.rax, general.rcx) == (priority << 4, priority)


def test_a_priority_that_there_is_not(guest):
    guest.start(bytes.fromhex("440f22c3") + HALT, long=True, rbx=16)
    guest.run()
    assert guest.fault == PROTECTION and guest.vcpu.apic.cr8 == 0


@pytest.mark.parametrize("code, flags", [("9c", 2), ("669c", 2), ("9c", 0x102)])
def test_pushf_alone_has_no_trap_flag_of_ours(guest, code, flags):
    """A step is made by the trap flag, which the guest does not see unless it has set it."""
    guest.start(bytes.fromhex(code) + HALT, rflags=flags)
    assert guest.vcpu.arrive()
    guest.vcpu.step()
    at = guest.state.general.rsp
    assert guest.memory[at] | (guest.memory[at + 1] & 1) << 8 == flags


OTHER_PAGE, HIGH = 0x40000, 0x40000000
GO_ON = b"\x0f\x22\xd8\xff\xe3"             # mov %rax, %cr3; jmp *%rbx
PRESENT, WRITABLE = 1, 2


def map_high(guest, tables, page):
    """Have `page` at HIGH in an address space of its own; what is lower is as it was."""
    entries = {tables: tables + 0x1000, tables + 0x1000: 0x80, tables + 0x1008: tables + 0x2000,
               tables + 0x2000: tables + 0x3000, tables + 0x3000: page}
    for at, entry in entries.items():
        guest.memory[at:at + 8] = (entry | PRESENT | WRITABLE).to_bytes(8, "little")


@pytest.fixture
def two_spaces(guest):
    """The same linear address is in two pages."""
    map_high(guest, TABLES_OF_A, OTHER_PAGE)
    map_high(guest, TABLES_OF_B, OTHER_PAGE + 0x1000)
    return guest


TABLES_OF_A, TABLES_OF_B = 0x50000, 0x58000
TO_B = b"\x48\xc7\xc0" + TABLES_OF_B.to_bytes(4, "little") + b"\x48\xc7\xc6" + (CODE + 0x100).to_bytes(4, "little") + \
    b"\xff\xe6"                             # mov $TABLES_OF_B, %rax; mov $CODE + 0x100, %rsi; jmp *%rsi


def test_another_block_at_the_same_address(two_spaces):
    """One was looked at, and may run; the other is what was stopped before."""
    guest = two_spaces
    guest.memory[OTHER_PAGE:OTHER_PAGE + len(LOOKS_LIKE_IT)] = LOOKS_LIKE_IT
    guest.memory[OTHER_PAGE + 0x1000:OTHER_PAGE + 0x1000 + len(BAD_EFER)] = BAD_EFER
    for tables, fault in ((TABLES_OF_B, PROTECTION), (TABLES_OF_A, None), (TABLES_OF_B, PROTECTION)):
        guest.start(GO_ON, long=True, rax=tables, rbx=HIGH)
        guest.state.activity = 0
        guest.run()
        assert guest.fault == fault


def test_code_that_a_device_wrote_of_another_address_space(two_spaces):
    """In one run both spaces have code at one address, and that of the second was changed by others since."""
    guest = two_spaces
    one, two = OTHER_PAGE, OTHER_PAGE + 0x1000
    guest.memory[CODE + 0x100:CODE + 0x100 + len(GO_ON)] = GO_ON
    guest.memory[two:two + 7] = b"\xbf\x01\x00\x00\x00" + HALT      # mov $1, %edi
    guest.start(GO_ON, long=True, rax=TABLES_OF_B, rbx=HIGH)
    guest.run()
    assert guest.state.general.rdi == 1
    guest.memory[two + 1] = 2
    guest.vcpu.cpu.written()
    guest.memory[one:one + len(TO_B)] = TO_B
    guest.start(GO_ON, long=True, rax=TABLES_OF_A, rbx=HIGH)
    guest.state.activity = 0
    guest.run()
    assert guest.state.general.rdi == 2


def test_the_end_of_a_block_that_a_device_wrote(guest):
    """It is in another page than the beginning."""
    code = b"\x90\x90\xbf\x01\x00\x00\x00" + HALT
    guest.start(code, CODE + 0xffd)
    guest.run()
    guest.memory[CODE + 0x1000] = 2
    guest.vcpu.cpu.written()
    guest.state.activity, guest.state.general.rip = 0, CODE + 0xffd
    guest.run()
    assert guest.state.general.rdi == 2


# other CPUs

STORM_S, MOST_S = 2.0, 1.0


@pytest.mark.parametrize("what", ["init", "nmi", "sipi"])
def test_a_storm_from_another_cpu(what):
    """It may come faster than a CPU takes it, and neither keeps that from anything else, nor grows."""
    with bare(cpus=2) as guest:
        over = threading.Event()

        def storm():
            while not over.is_set():
                guest.vcpus[1].tell(what, 8)
        thread = threading.Thread(target=storm, daemon=True)
        timer = threading.Timer(STORM_S, over.set)
        thread.start()
        timer.start()
        began = time.monotonic()
        for _ in range(10):
            guest.vcpus[1].state.activity = Activity.RUNNABLE
            guest.vcpus[1].advance()
        took = time.monotonic() - began
        over.set()
        thread.join()
        timer.cancel()
    assert took < MOST_S


def test_init_and_sipi_while_it_looks_elsewhere():
    """An NMI before INIT is gone; of several SIPIs one counts."""
    with bare(cpus=2) as guest:
        other = guest.vcpus[1]
        for what, vector in (("nmi", 0), ("init", 0), ("sipi", 0x20), ("sipi", 0x20)):
            other.tell(what, vector)
        guest.memory[0x20000:0x20000 + len(HALT)] = HALT
        for _ in range(3):
            other.advance()
        assert (other.state.activity, other.state.segments.cs.selector) == (Activity.HALTED, 0x2000)


# memory that is no RAM

TO_ROM = [b"\xa3" + ROM.to_bytes(4, "little"),                            # mov %eax, ROM
          b"\xbf" + ROM.to_bytes(4, "little") + b"\xb9\x40\0\0\0\xf3\xab",  # mov $ROM, %edi; mov $64, %ecx; rep stosl
          b"\xbc" + (ROM + 64).to_bytes(4, "little") + b"\x60\x60",        # mov $ROM + 64, %esp; pushal; pushal
          b"\x0f\x11\x05" + (ROM + 3).to_bytes(4, "little")]               # movups %xmm0, ROM + 3


@pytest.mark.parametrize("code", TO_ROM)
def test_a_write_to_rom(guest, code):
    """It is nothing, as on a PC."""
    guest.rom[:] = b"\x55" * len(guest.rom)
    guest.start(code + HALT, rax=0x12345678)
    guest.state.control.cr4 |= 1 << 9
    guest.run()
    assert guest.state.general.rip == CODE + len(code + HALT)
    assert set(guest.rom) == {0x55}


def test_a_write_to_rom_by_pages(guest):
    guest.rom[:] = b"\x55" * len(guest.rom)
    map_high(guest, TABLES_OF_A, ROM)
    guest.start(b"\x0f\x22\xd8\x48\x89\x03" + HALT, long=True, rax=TABLES_OF_A, rbx=HIGH)   # ...; mov %rax, (%rbx)
    guest.run()
    assert guest.state.general.rip == CODE + 8 and set(guest.rom) == {0x55}


@pytest.mark.parametrize("at", [DEVICE, 0xc8000000, 0xfee00000, RAM_BYTES])
def test_code_that_is_in_no_memory(guest, at):
    guest.start(b"\xff\xe0", rax=at)             # jmp *%eax
    with pytest.raises(UnhandledExit, match=f"Fetch from non-executable memory.*\n(.*\n)*.*rip {at:#x}"):
        guest.run()
