"""The kernel's side: KVM, BPF, and the threads that vhost has there."""

from ..table import rows_of

row = rows_of("https://nvd.nist.gov/vuln/detail/{}")
NO_LOG = "there is no log of dirty pages: a machine is not migrated, and a snapshot is of a device that stands still"
NO_VSOCK = "there is no vsock, and devices are not plugged in or out while a guest runs"

row("CVE-2026-31588", "Linux, KVM", "an MMIO write over two pages: its second half is read from a stack that is gone",
    attacks="writes_over_two_pages", modeless="emulated/test_whole_accesses.py::test_one_across_pages "
    "kvm/test_coalesced.py::test_a_write_that_crosses_the_end_of_a_zone")
row("CVE-2026-99082", "Linux, KVM", "an MMIO address is remembered though memory lies there now",
    modeless="pci/test_pci.py::test_moved pci/test_pci.py::test_many_moves "
    "kvm/test_bus.py::test_a_register_goes_with_its_device kvm/test_bus.py::test_a_device_where_nobody_was")
row("CVE-2026-64284", "Linux, KVM", "a page written in the last run is not in the log of dirty pages", never=NO_LOG)
row("CVE-2024-35804", "Linux, KVM", "an emulated CMPXCHG is not logged", never=NO_LOG)
row("CVE-2024-26990", "Linux, KVM", "a nested guest's writes are not logged", never=NO_LOG)
row("CVE-2025-38074", "Linux, vhost-scsi", "completions write a log that userspace has freed", never=NO_LOG)
row("CVE-2019-14835", "Linux, vhost-net", "descriptors write over the end of the log's buffer", never=NO_LOG)
row("CVE-2025-40024", "Linux, vhost", "a worker is woken when a signal has ended it; -2024-42135 the same",
    tests="guest/test_kill.py::test_killed", modeless="offload/test_threads.py::test_a_collector_that_fails_says_so "
    "offload/test_threads.py::test_an_upcall_that_fails_says_so")
row("CVE-2025-21756", "Linux, vsock", "a socket is bound to a transport that is gone", never=NO_VSOCK)
row("CVE-2024-50264", "Linux, vsock", "a pointer to a transport is left behind", never=NO_VSOCK)
row("CVE-2023-1838", "Linux, vhost-net", "a backend's file is fetched twice, and swapped between",
    tests="kernel_devices/test_net.py::test_gone_backend kernel_devices/test_net.py::test_toggle_loses_nothing")
row("CVE-2024-0340", "Linux, vhost", "messages whose padding was never set reach the reader",
    attacks="header_and_frame_alone identity_leaves_the_rest",
    modeless="security/test_padding.py::test_nothing_but_fields_is_in_a_snapshot "
    "security/test_padding.py::test_memory_that_is_shared_begins_as_zeros "
    "kvm/test_coalesced.py::test_round_its_end_and_no_bytes_of_earlier_writes")
row("CVE-2021-22543", "Linux, KVM", "a slot's pages are freed while they are mapped read-only",
    never="slots lie on maps and memfds of our own, which are kept until the VM's descriptor is closed; a guest "
    "names none")
row("CVE-2024-50063", "Linux, BPF", "a tail call into a program that is made for another hook",
    never="each hook has a dispatcher and a map of its programs of its own, and newer kernels refuse others; a guest "
    "names an entry of a map, never a program")
WRONG_VERIFIER = ("what a guest says is checked by C that is built natively as well, and fuzzed there under ASan and "
                  "UBSan; the verifier comes on top")
row("CVE-2023-2163", "Linux, BPF verifier", "paths are pruned that are not the same", never=WRONG_VERIFIER)
row("CVE-2025-38060", "Linux, BPF verifier", "a stack's precision is lost where paths meet", never=WRONG_VERIFIER)
row("CVE-2026-43009", "Linux, BPF verifier", "the precision of an atomic fetch is lost", never=WRONG_VERIFIER)
row("CVE-2026-74720", "Linux, BPF verifier", "wrong bounds of a register", never=WRONG_VERIFIER)
