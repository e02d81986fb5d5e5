/* Generated from vmm/devmodel/exit_path.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_EXIT_PATH_GEN_H
#define SPLITVMM_EXIT_PATH_GEN_H

#include <linux/types.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum {
	DECLINES = 0x400,
	VMS = 0x400,
	DEVICES = 0x40,
	PAGES = 0x100,
	ROUTES = 0x1000,
	VCPUS = 0x40,
	REGION_SHIFT = 0x1d,
	CHUNK = 0x40000,
	DECLINE_SIGNAL = 0x24,
	UPCALLS_BYTES = 0x10000,
	TRACES_BYTES = 0x40000,
	TRACE_TEXT = 0x78,
	UPCALL = 0xffff,
	RAISE = 0xfffe,
	MESSAGE_OWNER_SHIFT = 0x10,
	COLLECT_ADDRESS = 0xfeefe000,
	COLLECT_VECTOR = 0x20,
};

enum bus {
	BUS_MMIO = 0,
	BUS_PORT = 1,
};

enum action {
	ACTION_POSTED = 1,
	ACTION_CLEAR = 2,
	ACTION_NOTIFY = 3,
	ACTION_WATCH = 4,
	ACTION_IGNORE = 5,
};

enum verdict {
	VERDICT_TO_USER = 0,
	VERDICT_HANDLED = 1,
	VERDICT_HANDLED_INTERRUPT = 2,
	VERDICT_TO_USER_INTERRUPT = 3,
};

enum half {
	HALF_KERNEL = 0,
	HALF_NATIVE = 1,
	HALF_PYTHON = 2,
};

/* An access, exactly: another width at the same address is another key. */
struct route_key {
	__u64 address;	/* 0x000 guest-physical address or port */
	__u32 bus;	/* 0x008 which of the two */
	__u32 width;	/* 0x00c size of the access [bytes] */
};
_Static_assert(__builtin_offsetof(struct route_key, address) == 0x0, "route_key.address");
_Static_assert(__builtin_offsetof(struct route_key, bus) == 0x8, "route_key.bus");
_Static_assert(__builtin_offsetof(struct route_key, width) == 0xc, "route_key.width");
_Static_assert(sizeof(struct route_key) == 0x10, "route_key");

/* What becomes of it. */
struct route {
	__u32 device;	/* 0x000 slot of the device, and of its program */
	__u16 action;	/* 0x004 what to do */
	__u16 offset;	/* 0x006 register written, from the device's base [bytes] */
	__u16 target;	/* 0x008 register that a CLEAR acts on, on the same page [bytes] */
	__u16 interrupts;	/* 0x00a 1: the device interrupts whenever this is handled */
	__u32 page;	/* 0x00c element of `pages` that the register lies in */
};
_Static_assert(__builtin_offsetof(struct route, device) == 0x0, "route.device");
_Static_assert(__builtin_offsetof(struct route, action) == 0x4, "route.action");
_Static_assert(__builtin_offsetof(struct route, offset) == 0x6, "route.offset");
_Static_assert(__builtin_offsetof(struct route, target) == 0x8, "route.target");
_Static_assert(__builtin_offsetof(struct route, interrupts) == 0xa, "route.interrupts");
_Static_assert(__builtin_offsetof(struct route, page) == 0xc, "route.page");
_Static_assert(sizeof(struct route) == 0x10, "route");

/* Guest RAM as the exit path finds it: one run of bytes with a hole below 4 GiB. */
struct memory_layout {
	__u64 bytes;	/* 0x000 guest RAM in all [bytes] */
	__u64 low;	/* 0x008 of it, below the hole: guest-physical 0 to here [bytes] */
	__u64 high;	/* 0x010 where the rest starts [guest-physical address] */
	__u64 element;	/* 0x018 guest RAM in one map element [bytes] */
	__u64 shift;	/* 0x020 log2 of that, where there are several elements */
};
_Static_assert(__builtin_offsetof(struct memory_layout, bytes) == 0x0, "memory_layout.bytes");
_Static_assert(__builtin_offsetof(struct memory_layout, low) == 0x8, "memory_layout.low");
_Static_assert(__builtin_offsetof(struct memory_layout, high) == 0x10, "memory_layout.high");
_Static_assert(__builtin_offsetof(struct memory_layout, element) == 0x18, "memory_layout.element");
_Static_assert(__builtin_offsetof(struct memory_layout, shift) == 0x20, "memory_layout.shift");
_Static_assert(sizeof(struct memory_layout) == 0x28, "memory_layout");

/* A line of trace(). */
struct traced {
	__u32 device;	/* 0x000 slot of the device */
	__u32 half;	/* 0x004 who says it */
	__u8 text[120];	/* 0x008 what it says, ended by 0 */
};
_Static_assert(__builtin_offsetof(struct traced, device) == 0x0, "traced.device");
_Static_assert(__builtin_offsetof(struct traced, half) == 0x4, "traced.half");
_Static_assert(__builtin_offsetof(struct traced, text) == 0x8, "traced.text");
_Static_assert(sizeof(struct traced) == 0x80, "traced");

/* One write by the guest, as its handler sees it. */
struct access {
	__u64 value;	/* 0x000 what was written, zero-extended */
	__u32 device;	/* 0x008 slot of the device */
	__u16 offset;	/* 0x00c register written, from the device's base [bytes] */
	__u16 width;	/* 0x00e size of the access [bytes] */
};
_Static_assert(__builtin_offsetof(struct access, value) == 0x0, "access.value");
_Static_assert(__builtin_offsetof(struct access, device) == 0x8, "access.device");
_Static_assert(__builtin_offsetof(struct access, offset) == 0xc, "access.offset");
_Static_assert(__builtin_offsetof(struct access, width) == 0xe, "access.width");
_Static_assert(sizeof(struct access) == 0x10, "access");

/* A write that goes up to userspace, in order, exactly once. */
struct declined {
	struct access access;	/* 0x000 the write */
	__u32 reason;	/* 0x010 the device's reason; 0 for a write that follows a declined one */
	__u32 reserved;	/* 0x014 to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct declined, access) == 0x0, "declined.access");
_Static_assert(__builtin_offsetof(struct declined, reason) == 0x10, "declined.reason");
_Static_assert(__builtin_offsetof(struct declined, reserved) == 0x14, "declined.reserved");
_Static_assert(sizeof(struct declined) == 0x18, "declined");

/* One vCPU's declines: written by its own thread on the exit path, read when KVM_RUN returns. */
struct outbox {
	__u32 head;	/* 0x000 declines written, free running */
	__u32 lost;	/* 0x004 declines that found the ring full; 0 unless something is badly wrong */
	struct declined ring[1024];	/* 0x008 the declines */
};
_Static_assert(__builtin_offsetof(struct outbox, head) == 0x0, "outbox.head");
_Static_assert(__builtin_offsetof(struct outbox, lost) == 0x4, "outbox.lost");
_Static_assert(__builtin_offsetof(struct outbox, ring) == 0x8, "outbox.ring");
_Static_assert(sizeof(struct outbox) == 0x6008, "outbox");

/* The reading side of it. */
struct inbox {
	__u32 tail;	/* 0x000 declines read, free running */
	__u32 reserved;	/* 0x004 to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct inbox, tail) == 0x0, "inbox.tail");
_Static_assert(__builtin_offsetof(struct inbox, reserved) == 0x4, "inbox.reserved");
_Static_assert(sizeof(struct inbox) == 0x8, "inbox");

/* what one vCPU's thread and its exit path share */
struct vcpu_exits {
	struct outbox outbox;	/* 0x000 declines, written on the exit path */
	__u8 reserved_6008[56];	/* 0x6008 to the next field's place */
	const struct inbox inbox;	/* 0x6040 how far userspace has read them */
	__u8 reserved_6048[56];	/* 0x6048 to the next field's place */
};
_Static_assert(__builtin_offsetof(struct vcpu_exits, outbox) == 0x0, "vcpu_exits.outbox");
_Static_assert(__builtin_offsetof(struct vcpu_exits, reserved_6008) == 0x6008, "vcpu_exits.reserved_6008");
_Static_assert(__builtin_offsetof(struct vcpu_exits, inbox) == 0x6040, "vcpu_exits.inbox");
_Static_assert(__builtin_offsetof(struct vcpu_exits, reserved_6048) == 0x6048, "vcpu_exits.reserved_6048");
_Static_assert(sizeof(struct vcpu_exits) == 0x6080, "vcpu_exits");

/* Which exits are this VM's, and whether any of its declines is still to be read. */
struct machine_kernel {
	__u32 process;	/* 0x000 thread group of the vCPUs, as the kernel numbers it */
	__u32 declined;	/* 0x004 declines of all vCPUs, free running, atomic */
};
_Static_assert(__builtin_offsetof(struct machine_kernel, process) == 0x0, "machine_kernel.process");
_Static_assert(__builtin_offsetof(struct machine_kernel, declined) == 0x4, "machine_kernel.declined");
_Static_assert(sizeof(struct machine_kernel) == 0x8, "machine_kernel");

/* The reading side of it. */
struct machine_user {
	__u32 declined;	/* 0x000 declines read, free running, atomic */
	__u32 reserved;	/* 0x004 to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct machine_user, declined) == 0x0, "machine_user.declined");
_Static_assert(__builtin_offsetof(struct machine_user, reserved) == 0x4, "machine_user.reserved");
_Static_assert(sizeof(struct machine_user) == 0x8, "machine_user");

/* what a VM's exit path and userspace share */
struct machine_exits {
	struct machine_kernel kernel;	/* 0x000 written on the exit path */
	__u8 reserved_8[56];	/* 0x008 to the next field's place */
	const struct machine_user user;	/* 0x040 how far userspace has read */
	__u8 reserved_48[56];	/* 0x048 to the next field's place */
};
_Static_assert(__builtin_offsetof(struct machine_exits, kernel) == 0x0, "machine_exits.kernel");
_Static_assert(__builtin_offsetof(struct machine_exits, reserved_8) == 0x8, "machine_exits.reserved_8");
_Static_assert(__builtin_offsetof(struct machine_exits, user) == 0x40, "machine_exits.user");
_Static_assert(__builtin_offsetof(struct machine_exits, reserved_48) == 0x48, "machine_exits.reserved_48");
_Static_assert(sizeof(struct machine_exits) == 0x80, "machine_exits");

#endif /* SPLITVMM_EXIT_PATH_GEN_H */
