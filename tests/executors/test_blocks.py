"""Which instructions the emulator may run in KVM's place."""

import pytest

pytest.importorskip("capstone")
from vmm.executors.blocks import look

LONG, PROTECTED = 2, 1      # 64 and 32 bits


def trusted(code, mode=LONG):
    return look(bytes.fromhex(code), 0x1000, mode).ours


@pytest.mark.parametrize("code", [
    "a5", "48a5",                               # movsd, movsq
    "9f", "9e", "d3d0",                         # lahf; sahf; rcl eax, cl
    "f390", "0faee8", "f6c001", "c9"])          # pause; lfence; test al, 1; leave
def test_trusted(code):
    assert trusted(code)


@pytest.mark.parametrize("code, why", [
    ("f20f1000", "movsd xmm0, [rax]: SSE registers stay in KVM"),
    ("f20f1100", "movsd [rax], xmm0"),
    ("f20fc2c3fa", "cmpsd xmm0, xmm3, 0xfa"),
    ("489f", "rex.w lahf: Unicorn has it write spl"),
    ("409e", "rex sahf"),
    ("d310", "rcl [rax], cl: CF is written before a page fault of the operand"),
    ("c018ff", "rcr [rax], 0xff"),
    ("f6c801", "test al, 1 by the other encoding: an invalid opcode in Unicorn"),
    ("c8100000", "enter: its last fault is missing"),
    ("46c6c529", "mov bpl, 0x29 with REX.R: no instruction in Unicorn"),
    ("0fac050000000005", "shrd [rip], eax, 5: Unicorn has it a byte lower"),
    ("65f0f2a948185fce", "the same before another prefix"),
    ("f09f", "lock lahf: an invalid opcode, but not in Unicorn"),
    ("f00fb111", "lock cmpxchg [rcx], edx"),
    ("8ed0", "mov ss, eax"),
    ("0f22c0", "mov cr0, rax"),
])
def test_left_to_kvm(code, why):
    assert not trusted(code), why


def test_ports_of_a_block():
    """mov dx, 0x60; in al, dx; in al, 0x61"""
    assert look(bytes.fromhex("66ba6000ece461"), 0, PROTECTED).ports == [0x60, 0x61]
