"""SeaBIOS on our machines: it boots a disk by its first sector, which prints and reads by the BIOS's calls."""

import os
import subprocess
import sys

import pytest

from vmm.cli.main import main
from vmm.machine.machine import Machine
from vmm.paths import ROOT

BOOT_S = 60     # where a KVM emulates real mode
# SeaBIOS sends the last characters to a serial port with its timer: they may come too late

PRINTS_AND_READS = """
    mov $text, %si
1:  lodsb
    mov $0x0e, %ah      # teletype
    xor %bx, %bx
    int $0x10
    cmp $'\\n', %al
    jne 1b
    mov $packet, %si    # sectors 9 and 10, by number (Enhanced Disk Drive 3.0, 5.2)
    mov $0x42, %ah
    mov $0x80, %dl
    int $0x13
    mov $1, %al
    jc exit
    mov 0x8000, %ax     # 9
    shl $4, %ax
    add 0x8200, %ax     # 10
    cmp $0x9a, %ax
    mov $2, %al
    jne exit
    mov $0x0201, %ax    # sector 4 of the first track, which is number 3
    mov $0x0004, %cx
    mov $0x0080, %dx
    mov $0x8400, %bx
    int $0x13
    mov $3, %al
    jc exit
    mov 0x8400, %al
    add $40, %al        # 43
    jmp exit
text:   .ascii "from the boot sector\\r\\n"
packet: .byte 16, 0, 2, 0
        .word 0x8000, 0
        .quad 9
"""

ANSWERS_A_KEY = """
    mov $0, %ah         # wait for a key
    int $0x16
    jmp exit
"""


def test_a_boot_sector_prints_and_reads(mode, boot_disk, bios_machine, tmp_path):
    config = bios_machine(boot_disk(PRINTS_AND_READS), mode, serial=f"file={tmp_path}/serial")
    with Machine(config) as machine:
        assert machine.run(BOOT_S) == 43
        assert machine.devices[0].mode == mode
    assert b"from the boot" in (tmp_path / "serial").read_bytes()


def test_several_cpus_and_memory_above_4_gib(boot_disk, bios_machine):
    """INT 15h E820h tells RAM above 4 GiB (ACPI 6.4, 15.1); all CPUs answer SeaBIOS, or it would wait for them."""
    config = bios_machine(boot_disk("""
    xor %ebx, %ebx
1:  mov $0xe820, %eax
    mov $0x534d4150, %edx
    mov $20, %ecx
    mov $0x9000, %di
    int $0x15
    mov $1, %al
    jc exit
    cmpl $1, 0x9004     # from 4 GiB
    jne 2f
    mov $44, %al
    cmpl $1, 0x9010     # RAM
    je exit
2:  test %ebx, %ebx
    jnz 1b
    mov $2, %al
"""), cpus=2)
    config.memory = 3 << 30 | 64 << 20
    with Machine(config) as machine:
        assert machine.run(BOOT_S) == 44


def test_keys_reach_the_guest(boot_disk, bios_machine):
    with Machine(bios_machine(boot_disk(ANSWERS_A_KEY), keys="K")) as machine:
        assert machine.run(BOOT_S) == ord("K")


def test_a_jump_to_the_reset_vector_starts_it_again(boot_disk, bios_machine):
    """SeaBIOS does that by the chipset's reset control."""
    with Machine(bios_machine(boot_disk("    ljmp $0xf000, $0xfff0\n"))) as machine:
        assert machine.run(BOOT_S) == 0 and machine.rebooted


def test_command(boot_disk, seabios):
    done = subprocess.run([sys.executable, "-m", "vmm", "-q", "run", "--firmware", "seabios", "--disk",
                           boot_disk(PRINTS_AND_READS), "--mem", "32M"], cwd=ROOT, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=BOOT_S)
    assert done.returncode == 43 and b"from the boot" in done.stdout


@pytest.mark.parametrize("arguments, said", [
    (["--firmware", "seabios", "--kernel", "k"], "--kernel and --firmware given; wanted one of them"),
    (["guest", "--keys", "a"], "--keys without --firmware; wanted both"),
    (["--firmware", "seabios", "--flat", "0"], "--flat and --firmware given; wanted one"),
    (["--firmware", "/nowhere"], "/nowhere: No such file or directory; wanted a BIOS: seabios, of"),
    (["--firmware", "/dev/null"], "/dev/null: 0 bytes; wanted a BIOS of 64 to 256 KiB"),
    (["--firmware", "seabios", "--keys", "<hyper>"], "key '<hyper>'; wanted a character"),
    (["--firmware", "seabios", "--mem", "8M"], "8 MiB of memory with a BIOS; wanted 16 MiB or more")])
def test_refusals(arguments, said, capsys, seabios):
    assert main(["-q", "run", *arguments]) == os.EX_USAGE
    assert said in capsys.readouterr().err
