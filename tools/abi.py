"""Hold every built object against its schema.

    python -m tools.abi DIRECTORY
"""

import sys
from pathlib import Path

from vmm.devmodel.abi import AbiMismatch, check_object
from vmm.devmodel.exit_path import STRUCTS, machine_layout, vcpu_layout
from vmm.devmodel.headers import state_layouts
from vmm.devmodel.layout import layout_block
from vmm.offload.objects import check_abi


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0])
    common = [*(layout_block(block) for block in STRUCTS), vcpu_layout(), machine_layout()]
    wanted = {"exit_path": (common, ("route", "route_key"))}
    for stem, layout in state_layouts().items():
        wanted[stem] = (layout.structs() + common, (layout.state.c_name,))
    try:
        for stem, (blocks, required) in wanted.items():
            for kind in (".bpf.o", ".so"):
                check_object(directory / (stem + kind), blocks, required)
        for stem, layout in state_layouts().items():
            for kind in (".bpf.o", ".so"):
                check_abi(directory / (stem + kind), layout)    # leaves the record that loading asks for
    except AbiMismatch as error:
        print(f"abi: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
