"""Queues: what descriptors, indices and their registers say."""

from ..table import rows_of

row = rows_of("https://nvd.nist.gov/vuln/detail/{}")

row("CVE-2026-5747", "Firecracker, virtio-pci", "a queue's size rewritten after activation: writes behind the rings, "
    "division by 0", villain="registers_of_a_live_queue race_of_queue_registers queue_started_again_at_once")
row("CVE-2017-17381", "QEMU, virtio", "rings without alignment: division by 0",
    villain="size_0_split size_0_packed descriptor_area_askew used_ring_over_the_descriptors")
row("CVE-2011-2512", "QEMU, virtio", "a doorbell of a negative queue number passes a signed comparison",
    villain="doorbells_of_no_queue doorbell_of_another_number",
    tests="kernel_devices/test_blk.py::test_doorbell_of_no_queue")
row("CVE-2016-5403", "QEMU, virtio", "requests without end, submitted and not waited for, take all memory",
    villain="avail_index_too_far ring_overrun one_chain_twice",
    tests="kernel_devices/test_blk.py::test_more_available_than_the_queue_holds")
row("CVE-2016-6490", "QEMU, virtio", "a descriptor of no bytes is mapped for ever",
    villain="identity_of_nothing table_of_nothing race_of_length")
row("CVE-2016-7422", "QEMU, virtio", "a descriptor of a huge length: null pointer", villain="buffer_of_4_gib")
row("CVE-2013-2016", "QEMU, virtio", "device configuration accessed outside its bounds",
    villain="configuration_of_no_feature configuration_by_other_widths undescribed_places")
row("CVE-2019-18960", "Firecracker, vsock", "a buffer crosses the end of guest memory",
    attacks="header_at_the_end header_over_the_end data_at_the_end data_over_the_end status_at_the_end "
    "status_over_the_end table_that_ends_before_its_end",
    villain="buffer_across_the_end table_behind_ram descriptor_area_across_the_end",
    tests="kernel_devices/test_blk.py::test_hostile_chain")
row("CVE-2026-3886", "QEMU, virtio-gpu", "lengths added in 32 bits wrap",
    villain="buffer_that_wraps table_that_wraps more_than_4_gib read_that_wraps_to_the_end command_of_gigabytes")
row("FreeBSD-SA-24:17.bhyve", "bhyve, virtio", "a descriptor's length read twice, changed between",
    at="https://reviews.freebsd.org/D45735", villain="race_of_length race_of_address race_of_a_table",
    tests="kernel_devices/test_races.py::test_rewritten_between_check_and_use")
row("XSA-155", "Xen, ring macros", "requests read twice from memory that is shared",
    at="https://xenbits.xen.org/xsa/advisory-155.html",
    villain="race_of_a_disk_request race_of_a_packet race_of_flags race_of_next race_of_head race_of_id")
row("OpenVMM #4045", "OpenVMM, virtio", "a malformed chain: a loop without end that no reset ends",
    at="https://github.com/microsoft/openvmm/pull/4045",
    villain="loop_of_one loop_of_two loop_of_all loop_in_a_table table_in_itself list_without_an_end")
row("OpenVMM #3990", "OpenVMM, virtio", "a packed ring's wrap counter is stale after a chain of the whole ring",
    at="https://github.com/microsoft/openvmm/pull/3990", attacks="chain_of_the_whole_ring")
row("Cloud Hypervisor #7605", "Cloud Hypervisor, virtio", "an error of the avail index is ignored: it spins",
    at="https://github.com/cloud-hypervisor/cloud-hypervisor/pull/7605",
    villain="avail_index_back avail_index_below_zero avail_index_too_far race_of_avail_index head_outside_the_table")
row("CVE-2026-45782", "Cloud Hypervisor, virtio-blk", "a completion comes when its request is gone",
    attacks="used_ring_after_a_reset", villain="no_wait_for_the_reset race_of_reset",
    tests="kernel_devices/test_net.py::test_reset_with_reads_in_flight",
    modeless="virtqueue/test_uring.py::test_stale_completions_count_for_nothing "
    "virtqueue/test_uring.py::test_reset_waits_for_what_is_in_flight")
row("CVE-2026-74614", "Linux, vhost vsock", "a worker goes on with the queue of before a suspension",
    villain="race_of_queue_ready", tests="kernel_devices/test_blk.py::test_back_and_forth "
    "sync/test_ownership.py::test_doorbells_race_with_hand_overs",
    modeless="sync/test_ownership.py::test_changed_hands_behind_our_back sync/test_ownership.py::test_generation_wraps")
row("CVE-2026-23069", "Linux, vsock", "a counter goes below 0 as the peer takes back what it had granted",
    villain="avail_index_back avail_index_below_zero descriptor_taken_back descriptors_taken_back")
row("CVE-2024-3446", "QEMU, virtio", "a device's access to its own registers, by a buffer that lies there",
    villain="buffer_in_registers")
row("CVE-2021-20255", "QEMU, eepro100", "the same, again and again: the stack is used up",
    villain="buffer_in_registers")
row("CVE-2014-9718", "QEMU, IDE and AHCI", "a list of buffers that have no whole sector: loop, memory",
    villain="read_of_a_byte_less write_of_a_byte_less read_of_half_a_sector")
row("CVE-2018-16880", "Linux, vhost-net", "more buffers for one packet than the array of heads has",
    attacks="packet_over_the_whole_queue", villain="many_buffers_of_a_byte table_longer_than_the_queue",
    tests="kernel_devices/test_net.py::test_mergeable_small_buffers")
row("CVE-2019-3900", "Linux, vhost-net", "packets are handled for as long as there are some: nobody else has a turn",
    attacks="flood_without_buffers never_enough_buffers",
    modeless="kernel_devices/test_budget.py::test_the_budget_is_as_documented "
    "kernel_devices/test_budget.py::test_many_buffers_in_one_doorbell", villain="more_than_4_gib command_of_gigabytes")
row("Cloud Hypervisor #8128", "Cloud Hypervisor, virtio-blk", "one doorbell drains the queue for as long as there are "
    "requests", at="https://github.com/cloud-hypervisor/cloud-hypervisor/pull/8128",
    villain="avail_index_too_far ring_overrun",
    tests="kernel_devices/test_blk.py::test_more_than_a_handler_takes_on kernel_devices/test_blk.py::test_budget")
