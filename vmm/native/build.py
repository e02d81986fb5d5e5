"""Build the C extension modules (MODULES, below).

    python vmm/native/build.py NAME

API mode: constants and structs are those of the system's headers, checked by the compiler.
"""

import os
import shutil
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def _declared(name: str) -> str:
    """A header of ours that cffi can read, without its preprocessor's lines."""
    return "".join(line for line in (HERE / name).read_text().splitlines(True) if not line.startswith("#"))


KVM_REQUESTS = """KVM_GET_API_VERSION KVM_CREATE_VM KVM_CHECK_EXTENSION KVM_GET_VCPU_MMAP_SIZE
KVM_GET_SUPPORTED_CPUID KVM_CREATE_VCPU KVM_CREATE_IRQCHIP KVM_SET_USER_MEMORY_REGION
KVM_SET_TSS_ADDR KVM_SET_IDENTITY_MAP_ADDR KVM_IRQFD KVM_IOEVENTFD KVM_IRQ_LINE KVM_SET_GSI_ROUTING
KVM_GET_IRQCHIP KVM_SET_IRQCHIP KVM_GET_REGS KVM_SET_REGS KVM_GET_SREGS KVM_SET_SREGS KVM_SET_CPUID2
KVM_GET_TSC_KHZ KVM_SET_MSRS KVM_CREATE_PIT2 KVM_GET_PIT2 KVM_GET_LAPIC KVM_SET_LAPIC KVM_REGISTER_COALESCED_MMIO
KVM_GET_SREGS2 KVM_SET_SREGS2 KVM_GET_XSAVE KVM_SET_XSAVE KVM_GET_XCRS KVM_SET_XCRS KVM_GET_DEBUGREGS KVM_SET_DEBUGREGS
KVM_GET_VCPU_EVENTS KVM_SET_VCPU_EVENTS KVM_GET_MP_STATE KVM_SET_MP_STATE KVM_GET_MSRS KVM_GET_MSR_INDEX_LIST
KVM_GET_DEVICE_ATTR KVM_SET_DEVICE_ATTR KVM_SET_GUEST_DEBUG KVM_GET_DIRTY_LOG KVM_RUN""".split()
KVM_NUMBERS = """KVM_API_VERSION KVM_CAP_USER_MEMORY KVM_CAP_IRQCHIP KVM_CAP_IOEVENTFD KVM_CAP_IRQFD
KVM_CAP_READONLY_MEM KVM_CAP_IRQ_ROUTING KVM_CAP_NR_MEMSLOTS KVM_CAP_MAX_VCPUS
KVM_CAP_EXT_CPUID KVM_MEM_READONLY KVM_IOEVENTFD_FLAG_DATAMATCH KVM_IOEVENTFD_FLAG_PIO
KVM_IOEVENTFD_FLAG_DEASSIGN KVM_IRQFD_FLAG_DEASSIGN KVM_IRQ_ROUTING_IRQCHIP KVM_IRQ_ROUTING_MSI
KVM_IRQCHIP_IOAPIC KVM_IRQCHIP_PIC_MASTER KVM_IRQCHIP_PIC_SLAVE KVM_EXIT_IO KVM_EXIT_MMIO KVM_EXIT_HLT KVM_EXIT_SHUTDOWN
KVM_EXIT_INTR KVM_EXIT_FAIL_ENTRY KVM_EXIT_INTERNAL_ERROR KVM_EXIT_UNKNOWN KVM_EXIT_SYSTEM_EVENT
KVM_EXIT_EXCEPTION KVM_EXIT_DEBUG KVM_EXIT_IRQ_WINDOW_OPEN KVM_EXIT_SET_TPR
KVM_IOAPIC_NUM_PINS KVM_CAP_TSC_DEADLINE_TIMER KVM_CAP_PIT2 KVM_PIT_SPEAKER_DUMMY KVM_SYSTEM_EVENT_SHUTDOWN
KVM_SYSTEM_EVENT_RESET KVM_CAP_COALESCED_MMIO KVM_COALESCED_MMIO_MAX KVM_CAP_SREGS2 KVM_CAP_XSAVE2 KVM_CAP_X86_SMM
KVM_CAP_VCPU_ATTRIBUTES KVM_VCPU_TSC_CTRL KVM_VCPU_TSC_OFFSET KVM_SREGS2_FLAGS_PDPTRS_VALID
KVM_VCPUEVENT_VALID_NMI_PENDING KVM_VCPUEVENT_VALID_SIPI_VECTOR KVM_VCPUEVENT_VALID_SHADOW
KVM_VCPUEVENT_VALID_SMM KVM_CAP_SYNC_REGS KVM_SYNC_X86_REGS KVM_INTERNAL_ERROR_EMULATION KVM_MEM_LOG_DIRTY_PAGES
KVM_GUESTDBG_ENABLE KVM_GUESTDBG_SINGLESTEP""".split()

KVM = "".join(f"#define {name} ...\n" for name in KVM_REQUESTS + KVM_NUMBERS) + """
struct kvm_userspace_memory_region { uint32_t slot, flags;
                                     uint64_t guest_phys_addr, memory_size, userspace_addr; ...; };
struct kvm_regs { uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15,
                  rip, rflags; ...; };
struct kvm_segment { uint64_t base; uint32_t limit; uint16_t selector;
                     uint8_t type, present, dpl, db, s, l, g, avl, unusable; ...; };
struct kvm_dtable { uint64_t base; uint16_t limit; ...; };
struct kvm_sregs { struct kvm_segment cs, ds, es, fs, gs, ss, tr, ldt; struct kvm_dtable gdt, idt;
                   uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base; ...; };
struct kvm_ioeventfd { uint64_t datamatch, addr; uint32_t len; int32_t fd; uint32_t flags; ...; };
struct kvm_irqfd { uint32_t fd, gsi, flags; ...; };
struct kvm_irq_level { union { uint32_t irq; int32_t status; }; uint32_t level; };
struct kvm_cpuid_entry2 { uint32_t function, index, flags, eax, ebx, ecx, edx; ...; };
struct cpuid_list { uint32_t nent; struct kvm_cpuid_entry2 entries[256]; ...; };
struct routing_entry { uint32_t gsi, type, irqchip, pin, address_lo, address_hi, data; };
struct kvm_lapic_state { char regs[0x400]; };
struct kvm_pit_config { uint32_t flags; ...; };
struct msr_list { uint32_t nmsrs; struct kvm_msr_entry { uint32_t index; uint64_t data; ...; } entries[512]; ...; };
struct msr_indices { uint32_t nmsrs; uint32_t indices[512]; };
struct tsc_offset { uint64_t ticks; };
struct kvm_sregs2 { struct kvm_segment cs, ds, es, fs, gs, ss, tr, ldt; struct kvm_dtable gdt, idt;
                    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base, flags; unsigned long long pdptrs[4]; ...; };
struct kvm_debugregs { unsigned long long db[4]; uint64_t dr6, dr7, flags; ...; };
struct kvm_xsave { uint32_t region[1024]; ...; };
struct kvm_xcr { uint32_t xcr; uint64_t value; ...; };
struct kvm_xcrs { uint32_t nr_xcrs, flags; struct kvm_xcr xcrs[16]; ...; };
struct kvm_mp_state { uint32_t mp_state; ...; };
struct kvm_guest_debug { uint32_t control; ...; };
struct kvm_dirty_log { uint32_t slot; void *dirty_bitmap; ...; };
struct kvm_device_attr { uint32_t flags, group; uint64_t attr, addr; ...; };
struct kvm_vcpu_events {
    struct { uint8_t injected, nr, has_error_code, pending; uint32_t error_code; } exception;
    struct { uint8_t injected, nr, soft, shadow; } interrupt;
    struct { uint8_t injected, pending, masked, pad; } nmi;
    uint32_t sipi_vector, flags;
    struct { uint8_t smm, pending, smm_inside_nmi, latched_init; } smi;
    struct { uint8_t pending; } triple_fault;
    uint8_t exception_has_payload; uint64_t exception_payload; ...; };
struct kvm_coalesced_mmio_zone { uint64_t addr; uint32_t size; ...; };
struct kvm_coalesced_mmio { uint64_t phys_addr; uint32_t len, pio; uint8_t data[8]; ...; };
struct kvm_coalesced_mmio_ring { uint32_t first, last; struct kvm_coalesced_mmio coalesced_mmio[]; ...; };
struct kvm_run { uint8_t request_interrupt_window, immediate_exit; uint32_t exit_reason; uint64_t kvm_valid_regs;
                 ...; };

typedef int (*write_hook)(void *, uint32_t, uint64_t, uint32_t, uint64_t, int32_t *);
typedef int (*assist_hook)(void *, const void *, uint32_t, int32_t *);
""" + _declared("serial.h") + """
struct vcpu_loop { int vcpu_fd, vm_fd, signal; struct kvm_run *run; write_hook hook; void *path;
                   const volatile uint32_t *declines; volatile uint32_t *declines_read, *all_read;
                   const void *outbox; assist_hook assist; uint32_t waiting;
                   uint64_t runs, hooked, exits, assisted, serial_exits;
                   struct serial *serial; uint32_t serial_base; int32_t serial_line;
                   int (*after)(struct vcpu_loop *loop, void *data); void *after_data;
                   uint32_t answered; uint64_t run_ticks; volatile uint32_t leave;
                   uint32_t bus, is_write, width, count;
                   uint64_t address, value; uint8_t *data; };
int vcpu_enter(struct vcpu_loop *loop);
void vcpu_answer(struct vcpu_loop *loop, uint64_t value);
int kvm_call(int fd, unsigned long request, void *argument);
int kvm_call_value(int fd, unsigned long request, unsigned long value);
int set_signal_mask(int vcpu_fd, int signal);
int block_signal(int signal);
int kick_thread(int thread, int signal);
int this_thread(void);
int pulse_line(int vm_fd, uint32_t gsi);
int set_routing(int vm_fd, const struct routing_entry *entries, uint32_t count);
int ioapic_pins(int vm_fd, uint64_t *redirections);
int pic_masks(int vm_fd, uint8_t *masks);
int leave_pics(int vm_fd, uint32_t masks);
int keep_other_slots(int vm_fd);
struct kvm_run *map_run(int vcpu_fd, size_t bytes);
int unmap_run(struct kvm_run *run, size_t bytes);
uint64_t exit_detail(const struct kvm_run *run);
""" + _declared("kvm_state.h")
KVM_SOURCE = """
#include "kvm_run.h"
#include "kvm_state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/user.h>	/* PAGE_SIZE, of which KVM_COALESCED_MMIO_MAX is */
struct cpuid_list { uint32_t nent, padding; struct kvm_cpuid_entry2 entries[256]; };
struct routing_entry { uint32_t gsi, type, irqchip, pin, address_lo, address_hi, data; };
struct msr_list { uint32_t nmsrs, padding; struct kvm_msr_entry entries[512]; };
struct msr_indices { uint32_t nmsrs; uint32_t indices[512]; };
struct tsc_offset { uint64_t ticks; };

/* The whole table anew: entries of type MSI or IRQCHIP. */
static int set_routing(int vm_fd, const struct routing_entry *entries, uint32_t count)
{
	struct kvm_irq_routing *table = calloc(1, sizeof(*table) + count * sizeof(table->entries[0]));
	int result;

	if (!table)
		return -ENOMEM;
	table->nr = count;
	for (uint32_t i = 0; i < count; i++) {
		table->entries[i].gsi = entries[i].gsi;
		table->entries[i].type = entries[i].type;
		if (entries[i].type == KVM_IRQ_ROUTING_MSI) {
			table->entries[i].u.msi.address_lo = entries[i].address_lo;
			table->entries[i].u.msi.address_hi = entries[i].address_hi;
			table->entries[i].u.msi.data = entries[i].data;
		} else {
			table->entries[i].u.irqchip.irqchip = entries[i].irqchip;
			table->entries[i].u.irqchip.pin = entries[i].pin;
		}
	}
	result = kvm_call(vm_fd, KVM_SET_GSI_ROUTING, table);
	free(table);
	return result;
}

/* The in-kernel I/O APIC's redirection table, KVM_IOAPIC_NUM_PINS entries. */
static int ioapic_pins(int vm_fd, uint64_t *redirections)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	int result = kvm_call(vm_fd, KVM_GET_IRQCHIP, &chip);

	for (int i = 0; result >= 0 && i < KVM_IOAPIC_NUM_PINS; i++)
		redirections[i] = chip.chip.ioapic.redirtbl[i].bits;
	return result;
}

/* The interrupt mask registers of both in-kernel 8259s, the first one's first. */
static int pic_masks(int vm_fd, uint8_t *masks)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	int result = 0;

	for (; result >= 0 && chip.chip_id <= KVM_IRQCHIP_PIC_SLAVE; chip.chip_id++) {
		result = kvm_call(vm_fd, KVM_GET_IRQCHIP, &chip);
		masks[chip.chip_id - KVM_IRQCHIP_PIC_MASTER] = chip.chip.pic.imr;
	}
	return result;
}

/* The 8259s as a PC's firmware leaves them: 8086 mode, vectors from 0x08 and 0x70 on; bit n of `masks` masks
 * interrupt n. */
static int leave_pics(int vm_fd, uint32_t masks)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	int result = 0;

	for (; result >= 0 && chip.chip_id <= KVM_IRQCHIP_PIC_SLAVE; chip.chip_id++) {
		result = kvm_call(vm_fd, KVM_GET_IRQCHIP, &chip);
		if (result < 0)
			break;
		chip.chip.pic.imr = chip.chip_id == KVM_IRQCHIP_PIC_MASTER ? masks & 0xff : masks >> 8;
		chip.chip.pic.irq_base = chip.chip_id == KVM_IRQCHIP_PIC_MASTER ? 0x08 : 0x70;
		chip.chip.pic.init4 = 1;
		result = kvm_call(vm_fd, KVM_SET_IRQCHIP, &chip);
	}
	return result;
}

#ifndef KVM_X86_QUIRK_SLOT_ZAP_ALL	/* Linux 6.12 */
#define KVM_X86_QUIRK_SLOT_ZAP_ALL (1 << 7)
#endif

/* A memory slot that goes takes the translations of no other with it, where KVM can leave those: -errno if not even
 * that can be asked for. */
static int keep_other_slots(int vm_fd)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DISABLE_QUIRKS2, .args = { KVM_X86_QUIRK_SLOT_ZAP_ALL } };
	int quirks = kvm_call_value(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_DISABLE_QUIRKS2);

	return quirks > 0 && quirks & KVM_X86_QUIRK_SLOT_ZAP_ALL ? kvm_call(vm_fd, KVM_ENABLE_CAP, &cap) : 0;
}

static struct kvm_run *map_run(int vcpu_fd, size_t bytes)
{
	void *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static int unmap_run(struct kvm_run *run, size_t bytes)
{
	return munmap(run, bytes);
}

/* What KVM adds to a failed entry or an internal error. */
static uint64_t exit_detail(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_FAIL_ENTRY ? run->fail_entry.hardware_entry_failure_reason :
	       run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? run->internal.suberror :
	       run->exit_reason == KVM_EXIT_SYSTEM_EVENT ? run->system_event.type : 0;
}
"""

BPF = "".join(f"#define {name} ...\n" for name in "BPF_F_MMAPABLE BPF_ANY".split()) + """
enum bpf_map_type { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_RINGBUF,
                    BPF_MAP_TYPE_PERCPU_ARRAY, ... };
struct bpf_object; struct bpf_map;
void messages_clear(void);
const char *messages_text(size_t *bytes);
struct bpf_object *object_open(const char *path);
int object_prefer(struct bpf_object *object, const char *name, const char *other);
int constant_place(struct bpf_object *object, const char *name, uint32_t *size);
int bpf_object__load(struct bpf_object *object);
void bpf_object__close(struct bpf_object *object);
struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *object, const char *name);
struct bpf_map *bpf_object__next_map(const struct bpf_object *object, const struct bpf_map *map);
const char *bpf_map__name(const struct bpf_map *map);
int bpf_map__reuse_fd(struct bpf_map *map, int fd);
int bpf_map__fd(const struct bpf_map *map);
void *bpf_map__initial_value(struct bpf_map *map, size_t *size);
int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags);
int bpf_map_delete_elem(int fd, const void *key);
int bpf_map_get_next_key(int fd, const void *key, void *next_key);
int map_new(int kind, const char *name, int key, int value, int entries, int flags);
struct attached { uint32_t link; uint32_t map_count, map[16]; };
int attached_next(uint32_t link, const char *name, struct attached *found);
int map_open(uint32_t id, char name[16], uint32_t *value_bytes);
int bpf_link_get_fd_by_id(uint32_t id);
int bpf_raw_tracepoint_open(const char *name, int program_fd);
int bpf_object__find_map_fd_by_name(const struct bpf_object *object, const char *name);
int program_fd(struct bpf_object *object, const char *name);
int run_program(int fd, const uint64_t *given, uint32_t count);
struct ring_buffer; struct record_reader;
struct record_reader *records_open(int map_fd, uint32_t size);
int records_fd(struct record_reader *reader);
int records_take(struct record_reader *reader, void *records, uint32_t most);
void records_close(struct record_reader *reader);
"""

SHARED = """
void full_barrier(void);
uint32_t fetch_add32(uint64_t address, uint32_t n);
uint32_t fetch_or32(uint64_t address, uint32_t bits);
uint32_t fetch_and32(uint64_t address, uint32_t bits);
uint64_t fetch_add64(uint64_t address, uint64_t n);
int meter(uint64_t due, uint64_t cost, uint64_t now, uint64_t burst);
uint64_t reserve(size_t bytes);
int unreserve(uint64_t at, size_t bytes);
int map_fixed(uint64_t at, size_t bytes, int fd, uint64_t offset);
int map_private(uint64_t at, size_t bytes);
uint64_t map_file(int fd, size_t bytes);
int unmap_file(uint64_t at, size_t bytes);
int populate(uint64_t at, size_t bytes);
int evict(uint64_t at, size_t bytes);
int resident(uint64_t at, size_t bytes, uint8_t *pages);
int file_allocate(int fd, int mode, uint64_t offset, uint64_t bytes);
struct memory_place { uint64_t address, size; };
int read_process(int pid, const struct memory_place *places, uint32_t count, void *into);
void event_record(uint64_t ring, uint32_t what, uint32_t where, uint64_t value, uint64_t began_ns);
uint32_t events_take(uint64_t ring, void *events, uint32_t most);
"""

URING = """
struct ring_places { uint32_t sq_head, sq_tail, sq_flags, cq_head, cq_tail, cqes, sq_entries, cq_entries; };
int ring_setup(uint32_t entries, uint64_t rings, uint64_t sqes, uint32_t idle_ms, int attach,
               struct ring_places *places);
int ring_register(int fd, const int32_t *files, uint32_t count, int eventfd);
void ring_unregister(int fd);
int ring_enter(int fd, uint32_t submit, int wake);
int ring_cancel(int fd);
"""

LOAD = """
uint32_t udp_round_trips(int fd, const void *data, uint32_t bytes, uint32_t count, uint64_t *took);
int packet_socket(const char *interface);
uint64_t packet_flood(int fd, void *frame, uint32_t bytes, volatile uint32_t *stop);
int new_network(void);
int new_mounts(void);
int new_loop(int file, int *number);
void end_with_parent(int parent);
"""

EMULATOR = """
struct vcpu_loop; struct vcpu_state; struct code_page;
""" + _declared("emulator.h") + _declared("partial.h") + """
extern "Python" {
    uint64_t emulator_read(void *handle, uint32_t bus, uint64_t address, uint32_t width);
    void emulator_write(void *handle, uint32_t bus, uint64_t address, uint32_t width, uint64_t value);
    void emulator_look(void *handle, struct emulated_block *block, const uint8_t *code);
    void emulator_cpuid(void *handle, uint32_t *registers);
    void emulator_raise(void *handle, int32_t line);
    void emulator_remap(void *handle);
}
"""
EMULATOR_SOURCE = '#include "partial.h"'

MODULES = {
    "kvm": ("vmm.kvm._kvm", KVM, KVM_SOURCE, {
        "sources": [str(HERE / name) for name in ("kvm_run.c", "kvm_state.c", "serial.c")]}),
    "bpf": ("vmm.kvm._bpf", BPF, '#include "bpf.c"', {"libraries": ["bpf"]}),
    "load": ("vmm.bench._load", LOAD, '#include "load.c"', {}),
    "uring": ("vmm.virtqueue._uring", URING, '#include "uring.c"', {}),
    "emulator": ("vmm.executors._emulator", EMULATOR, EMULATOR_SOURCE, {
        "sources": [str(HERE / name) for name in ("emulator.c", "emulator_state.c", "partial.c", "serial.c")]}),
    "shared": ("vmm.sync._shared", SHARED, '#include "shared.c"', {}),
}


def main(which: str) -> None:
    os.environ.setdefault("LDSHARED", "cc -shared")     # Python's own may name a folder of this machine (RUNPATH)
    name, declarations, source, options = MODULES[which]
    builder = FFI()
    builder.cdef(declarations)
    builder.set_source(name, "#ifndef _GNU_SOURCE\n#define _GNU_SOURCE\n#endif\n" + source,
                       include_dirs=[str(HERE), str(ROOT / "kernel_devices")],
                       extra_compile_args=["-O2", "-Wall", "-Wno-discarded-qualifiers"], **options)
    built = Path(builder.compile(tmpdir=str(ROOT / "build" / "native")))
    place = ROOT / Path(*name.split(".")).with_suffix(".so")
    place.unlink(missing_ok=True)       # a process that has the old one mapped keeps it
    shutil.copyfile(built, place)


if __name__ == "__main__":
    main(sys.argv[1])
