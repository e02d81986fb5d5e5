"""What guests show on the display by their BIOS's calls, on KVM."""

import pytest

from vmm.cli.main import main
from vmm.cli.pictures import Display
from vmm.machine.machine import Machine

PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

BOOT_S = 60     # where a KVM emulates real mode

VBE = """
    mov $0x4f02, %ax    # 1024 by 768, 24 bits (VBE 3.0, 4.4)
    mov $0x118, %bx
    int $0x10
    mov $1, %al
    cmp $0, %ah
    jne exit
    mov $0xa000, %ax
    mov %ax, %es
    xor %di, %di        # a red line
    mov $256, %cx
1:  movw $0, %es:(%di)
    movb $0xff, %es:2(%di)
    add $3, %di
    loop 1b
    mov $0x4f05, %ax    # bank 1
    xor %bx, %bx
    mov $1, %dx
    int $0x10
    movw $0xffff, %es:0 # green and red of pixel 21845, whose blue is bank 0's last byte
    mov $0x4f01, %ax    # where the frame buffer is
    mov $0x118, %cx
    xor %bx, %bx
    mov %bx, %es
    mov $0x8000, %di
    int $0x10
    mov 0x8028, %ebx
    cli                 # a segment of 4 GiB, as protected mode leaves it
    lgdtl gdtr
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    mov $8, %cx
    mov %cx, %fs
    and $0xfe, %al
    mov %eax, %cr0
    movl $0x00ff8040, %fs:1024*3*700+3*500(%ebx)
    mov $7, %al
    jmp exit
    .balign 8
gdt:  .quad 0, 0x00cf93000000ffff
gdtr: .word 15
      .long gdt
"""

MODE = """
    mov ${mode:#x}, %ax
    int $0x10
    mov $0x0c0c, %ax    # a pixel of colour 12, at 100, 50
    xor %bx, %bx
    mov $100, %cx
    mov $50, %dx
    int $0x10
    mov $7, %al
    jmp exit
"""

TEXT = """
    mov $0x0e41, %ax
    xor %bx, %bx
    int $0x10
    mov $7, %al
    jmp exit
"""


def picture(config):
    with Machine(config) as machine:
        assert machine.run(BOOT_S) == 7
        return Display(machine.vga).image()


def test_vbe(boot_disk, bios_machine):
    image = picture(bios_machine(boot_disk(VBE), vga="std"))
    assert image.size == (1024, 768)
    assert [image.getpixel((x, 0)) for x in (0, 255, 256)] == [(255, 0, 0), (255, 0, 0), (0, 0, 0)]
    assert image.getpixel((65536 // 3 % 1024, 65536 // 3 // 1024)) == (255, 255, 0)
    assert image.getpixel((500, 700)) == (255, 0x80, 0x40)
    assert len(image.getcolors()) == 4


@pytest.mark.parametrize("mode, size", [(0x13, (320, 200)), (0x12, (640, 480))])
def test_modes_of_a_vga(mode, size, boot_disk, bios_machine):
    image = picture(bios_machine(boot_disk(MODE.format(mode=mode)), vga="std"))
    assert image.size == size and image.getpixel((100, 50)) == (0xff, 0x55, 0x55) and len(image.getcolors()) == 2


def test_text(boot_disk, seabios, tmp_path, capsys):
    assert main(["-q", "run", "--firmware", "seabios", "--mem", "32M", "--vga", "std", "--serial", "null", "--show",
                 "text", "--screenshot", f"{tmp_path}/a.png", "--disk", str(boot_disk(TEXT))]) == 7
    assert [line[:9] for line in capsys.readouterr().out.split("\n")] == ["SeaBIOS (", "Booting f", "A", ""]
    image = PIL.open(tmp_path / "a.png")
    assert image.size == (720, 400)
    # SeaVGABIOS's A, 8 by 16
    ink = [[x for x in range(9) if image.getpixel((x, 32 + y)) != (0, 0, 0)] for y in range(16)]
    assert ink[2] == [3] and ink[7] == list(range(7)) and ink[15] == []
