"""Requests, packets and registers of devices."""

from ..table import rows_of

row = rows_of("https://nvd.nist.gov/vuln/detail/{}")

row("CVE-2026-48914", "QEMU, virtio-blk", "a SCSI command whose descriptors are smaller than what is written",
    attacks="scsi_command scsi_command_without_room scsi_command_without_buffers", villain="short_header unknown_type")
row("CVE-2011-4127", "Linux and QEMU, SG_IO", "a guest's SCSI command reaches the whole disk behind a partition",
    attacks="scsi_command scsi_command_without_buffers")
row("CVE-2008-0928", "QEMU, block devices", "sectors behind the end of a disk",
    villain="read_behind_the_end write_behind_the_end read_across_the_end write_across_the_end discard_behind_the_end")
row("CVE-2008-2004", "QEMU, block devices", "an image's format is guessed by what the guest wrote into it",
    modeless="devices/test_disk_image.py::test_other_formats_are_refused")
row("GHSA-jmr4-g2hv-mjj6", "Cloud Hypervisor, qcow2", "a guest names a file of the host's as its image's backing file",
    at="https://github.com/cloud-hypervisor/cloud-hypervisor/security/advisories/GHSA-jmr4-g2hv-mjj6",
    modeless="devices/test_disk_image.py::test_other_formats_are_refused")
row("OpenBSD vmd 0759b25", "OpenBSD vmd, virtio", "lengths of descriptors taken for those of what is put there",
    at="https://github.com/openbsd/src/commit/0759b25c59b6ba20cbbd574f91b133e4d6029b31",
    attacks="identity_leaves_the_rest", villain="identity_of_a_page identity_of_a_byte short_header no_status")
row("CVE-2021-3748", "QEMU, virtio-net", "the number of buffers is written into memory that is no longer mapped",
    attacks="race_of_receive_buffers packet_over_the_whole_queue",
    tests="kernel_devices/test_net.py::test_merged_reset")
row("CVE-2023-6693", "QEMU, virtio-net", "a header of another size than its buffer on the stack, by a feature",
    villain="hash_not_negotiated features_of_another_type shorter_than_its_header num_buffers_of_a_packet")
row("CVE-2014-0150", "QEMU, virtio-net", "a table of MAC addresses whose length wraps",
    villain="mac_table_of_too_many mac_table_cut mac_table_without_multicast mac_address_cut")
row("CVE-2024-6505", "QEMU, virtio-net", "an RSS table of queues that there are not",
    villain="rss_not_negotiated pairs_65535 pairs_one_too_many pairs_none")
row("CVE-2016-6888", "QEMU, vmxnet3", "a packet of too many fragments: an unchecked product",
    attacks="packet_by_single_bytes", villain="larger_than_any_packet")
row("CVE-2022-3643", "Linux, Xen netback", "headers in many pieces, which the host's stack has no eye for",
    attacks="packet_by_single_bytes")
row("CVE-2023-34319", "Linux, Xen netback", "the same, in the code that mended it", attacks="packet_by_single_bytes",
    villain="gso_header_longer_than_the_packet checksum_behind_the_packet")
row("CVE-2020-16843", "Firecracker, virtio-net", "the card receives nothing more after heavy traffic",
    attacks="flood_without_buffers", tests="kernel_devices/test_net.py::test_receive_runs_dry_and_goes_on")
row("CVE-2015-5745", "QEMU, virtio-serial", "control messages longer than what they are copied into",
    villain="queues_of_other_ports output_half_to_be_written",
    tests="kernel_devices/test_console.py::test_gigabytes_of_output_take_no_memory")
row("CVE-2021-28711", "Xen, blkfront's peer", "storms of events keep the other side from all else; "
    "-28712 and -28713 the same",
    villain="doorbell_nobody_asked_for doorbells_of_no_queue race_of_doorbells",
    tests="kernel_devices/test_blk.py::test_a_guest_cannot_fill_the_log")
row("CVE-2024-4693", "QEMU, virtio-pci", "the configuration's vector is used and released while it is none",
    villain="config_vector_beyond_the_table config_vector_next_to_none queue_vector_beyond_the_table "
    "vector_of_no_queue messages_to_anywhere")
row("CVE-2020-13754", "QEMU, MSI-X", "an access of the MSI-X table behind its end",
    villain="table_by_other_widths window_of_the_msix_table queue_vector_of_the_largest_table")
row("CVE-2024-26327", "QEMU, SR-IOV", "more virtual functions than there are", villain="sr_iov capabilities_written")
row("CVE-2020-27173", "rust-vmm vm-superio, serial port", "input that nobody reads takes memory without end; "
    "-27174 is Firecracker's", modeless="devices/test_serial.py::test_what_waits_is_bounded "
    "devices/test_serial.py::test_nobody_reads_and_nobody_waits")
row("CVE-2023-3494", "bhyve, fwctl", "a state machine behind ports writes over the end of its buffer",
    modeless="firmware/test_ports.py::test_whatever_a_guest_does")
row("CVE-2024-41928", "bhyve, TPM", "offset and size of an MMIO access are not checked",
    villain="registers_by_other_widths undescribed_places wide_writes unaligned_writes undescribed_registers")
row("CVE-2026-74356", "Linux, vhost-net", "mergeable buffers that never suffice: doorbells are asked for and looked at "
    "without end", attacks="never_enough_buffers", villain="many_buffers_of_a_byte receive_buffer_of_a_byte",
    tests="kernel_devices/test_net.py::test_merged_with_too_few_buffers")
row("Alioth #34", "Alioth, MSI-X", "vectors of before a reset go on sending messages after it",
    at="https://github.com/google/alioth/pull/34", villain="no_wait_after_a_reset messages_to_anywhere race_of_reset")
row("CVE-2026-46321", "Linux, tun with vhost-net", "each frame shorter than an Ethernet header leaks a page; -46320 is "
    "tap's, -46322 memory's", attacks="short_frames", villain="header_alone shorter_than_its_header",
    tests="security/test_tap.py::test_short_frames_leave_nothing")
row("CVE-2020-10942", "Linux, vhost-net", "a backend is taken for a socket of the right kind by its family alone",
    modeless="security/test_tap.py::test_descriptors_that_are_no_tap")
