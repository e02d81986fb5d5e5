"""State, files and what a machine does not have."""

from ..table import rows_of

row = rows_of("https://nvd.nist.gov/vuln/detail/{}")
STATES = ("sync/test_snapshot.py::test_hostile "
          "sync/test_agreement.py::test_changed_anyhow_it_is_refused_or_written_whole")

row("CVE-2013-4535", "QEMU, migration", "a saved queue's number of buffers is larger than the array", modeless=STATES)
row("CVE-2013-4536", "QEMU, migration", "a saved queue's state is taken as it is", modeless=STATES)
row("CVE-2013-4151", "QEMU, migration", "more queues are saved than there are", modeless=STATES)
row("CVE-2017-16845", "QEMU, PS/2 in migration", "indices of a saved FIFO lie outside it", modeless=STATES +
    " chips/test_chips_state.py::test_what_cannot_be_is_refused_before_anything_is_changed")
row("CVE-2015-3456", "QEMU, floppy", "a FIFO whose index is not reset: VENOM",
    modeless="firmware/test_ports.py::test_whatever_a_guest_does devices/test_serial.py::test_loopback_overruns "
    "devices/test_serial.py::test_wider_than_a_register")
row("CVE-2026-9539", "libslirp", "a network stack in the VMM reads behind a packet",
    never="there is no network stack here: packets go to a TAP or a socket as they are")
row("Firecracker #5705", "Firecracker, snapshots", "a snapshot of memory in several slots has pages in the wrong place",
    at="https://github.com/firecracker-microvm/firecracker/issues/5705",
    never="a snapshot has no memory; what is in several elements of a map is one range, and handlers decline what "
    "straddles two")
