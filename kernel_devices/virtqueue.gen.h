/* Generated from vmm/devmodel/virtqueue.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_VIRTQUEUE_GEN_H
#define SPLITVMM_VIRTQUEUE_GEN_H

#include <linux/types.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum side {
	SIDE_USER = 0,
	SIDE_KERNEL = 1,
};

enum {
	DECLINE_HELD_BY_USER = 0x1,
	DECLINE_NOT_READY = 0x2,
	DECLINE_MALFORMED = 0x3,
	DECLINE_OUTSIDE_RAM = 0x4,
	DECLINE_STRADDLES = 0x5,
	DECLINE_BUSY = 0x6,
	DECLINE_BUDGET = 0x7,
	DECLINE_RING_ASLEEP = 0x8,
	DECLINE_IO_FAILED = 0x9,
	DECLINE_NO_RING = 0xa,
};

enum {
	CAUSE_USED_BUFFER = 0x1,
};

/* Descriptor (VIRTIO 1.2, 2.7.5). */
struct vring_desc {
	__le64 addr;	/* 0x000 buffer [guest-physical address] */
	__le32 len;	/* 0x008 its length [bytes] */
	__le16 flags;	/* 0x00c what the buffer is */
	__le16 next;	/* 0x00e index of the next descriptor, if flags say so */
};
_Static_assert(__builtin_offsetof(struct vring_desc, addr) == 0x0, "vring_desc.addr");
_Static_assert(__builtin_offsetof(struct vring_desc, len) == 0x8, "vring_desc.len");
_Static_assert(__builtin_offsetof(struct vring_desc, flags) == 0xc, "vring_desc.flags");
_Static_assert(__builtin_offsetof(struct vring_desc, next) == 0xe, "vring_desc.next");
_Static_assert(sizeof(struct vring_desc) == 0x10, "vring_desc");
enum {
	VRING_DESC_FLAGS_NEXT = 1 << 0,
	VRING_DESC_FLAGS_WRITE = 1 << 1,
	VRING_DESC_FLAGS_INDIRECT = 1 << 2,
};

/* One completion (VIRTIO 1.2, 2.7.8). */
struct vring_used_elem {
	__le32 id;	/* 0x000 head of the chain that is done */
	__le32 len;	/* 0x004 written to its device-writable part [bytes] */
};
_Static_assert(__builtin_offsetof(struct vring_used_elem, id) == 0x0, "vring_used_elem.id");
_Static_assert(__builtin_offsetof(struct vring_used_elem, len) == 0x4, "vring_used_elem.len");
_Static_assert(sizeof(struct vring_used_elem) == 0x8, "vring_used_elem");

/* Who may serve; see vmm/sync/PROTOCOL.md. */
struct ownership {
	__u32 holder;	/* 0x000 the side that may serve */
	__u32 generation;	/* 0x004 moves with every hand-over */
};
_Static_assert(__builtin_offsetof(struct ownership, holder) == 0x0, "ownership.holder");
_Static_assert(__builtin_offsetof(struct ownership, generation) == 0x4, "ownership.generation");
_Static_assert(sizeof(struct ownership) == 0x8, "ownership");

/* Who is inside, and what came of it.  `sequence` is odd while the counters move. */
struct entry {
	__u32 active;	/* 0x000 handlers inside, atomic */
	__u32 rings;	/* 0x004 doorbells that the handler inside has yet to look at, atomic; of a device, 1 while it is locked */
	__u32 sequence;	/* 0x008 odd while a handler writes the counters below */
	__u32 last_reason;	/* 0x00c why it declined last; 0 if it never did */
	__u64 handled;	/* 0x010 requests completed by the handler */
	__u64 assisted;	/* 0x018 of these, by the native build, after the kernel half had declined the doorbell */
	__u64 waited;	/* 0x020 of these, by the native build, waiting for them: writes that the page cache takes */
	__u64 bytes;	/* 0x028 data moved by the handler [bytes] */
	__u64 busy_ns;	/* 0x030 time inside the handler [ns] */
	__u64 longest_ns;	/* 0x038 of one visit, at most; of a kernel half's where there is one [ns] */
	__u64 polled;	/* 0x040 of those handled, requests found by looks of the ring's thread */
	__u64 declined[24];	/* 0x048 doorbells declined, by reason, atomic */
	__u64 doorbells;	/* 0x108 doorbells that reached the handler, atomic; behind the others, which another CPU may be at */
};
_Static_assert(__builtin_offsetof(struct entry, active) == 0x0, "entry.active");
_Static_assert(__builtin_offsetof(struct entry, rings) == 0x4, "entry.rings");
_Static_assert(__builtin_offsetof(struct entry, sequence) == 0x8, "entry.sequence");
_Static_assert(__builtin_offsetof(struct entry, last_reason) == 0xc, "entry.last_reason");
_Static_assert(__builtin_offsetof(struct entry, handled) == 0x10, "entry.handled");
_Static_assert(__builtin_offsetof(struct entry, assisted) == 0x18, "entry.assisted");
_Static_assert(__builtin_offsetof(struct entry, waited) == 0x20, "entry.waited");
_Static_assert(__builtin_offsetof(struct entry, bytes) == 0x28, "entry.bytes");
_Static_assert(__builtin_offsetof(struct entry, busy_ns) == 0x30, "entry.busy_ns");
_Static_assert(__builtin_offsetof(struct entry, longest_ns) == 0x38, "entry.longest_ns");
_Static_assert(__builtin_offsetof(struct entry, polled) == 0x40, "entry.polled");
_Static_assert(__builtin_offsetof(struct entry, declined) == 0x48, "entry.declined");
_Static_assert(__builtin_offsetof(struct entry, doorbells) == 0x108, "entry.doorbells");
_Static_assert(sizeof(struct entry) == 0x110, "entry");

/* What the Python half did.  `sequence` is odd while what is counted with a request moves. */
struct user_counters {
	__u32 sequence;	/* 0x000 odd while the Python half counts requests */
	__u32 reserved;	/* 0x004 to a multiple of 8 */
	__u64 doorbells;	/* 0x008 doorbells served in userspace */
	__u64 handled;	/* 0x010 requests completed in userspace */
	__u64 bytes;	/* 0x018 data moved by userspace [bytes] */
	__u64 busy_ns;	/* 0x020 time serving in userspace [ns] */
};
_Static_assert(__builtin_offsetof(struct user_counters, sequence) == 0x0, "user_counters.sequence");
_Static_assert(__builtin_offsetof(struct user_counters, reserved) == 0x4, "user_counters.reserved");
_Static_assert(__builtin_offsetof(struct user_counters, doorbells) == 0x8, "user_counters.doorbells");
_Static_assert(__builtin_offsetof(struct user_counters, handled) == 0x10, "user_counters.handled");
_Static_assert(__builtin_offsetof(struct user_counters, bytes) == 0x18, "user_counters.bytes");
_Static_assert(__builtin_offsetof(struct user_counters, busy_ns) == 0x20, "user_counters.busy_ns");
_Static_assert(sizeof(struct user_counters) == 0x28, "user_counters");

/* ownership and counters of one device */
struct device_control {
	const struct ownership ownership;	/* 0x000 who may serve */
	__u8 reserved_8[56];	/* 0x008 to the next field's place */
	struct entry entry;	/* 0x040 who is inside, and what came of it */
	__u8 reserved_150[48];	/* 0x150 to the next field's place */
	const struct user_counters user;	/* 0x180 what the Python half did */
	__u8 reserved_1a8[24];	/* 0x1a8 to the next field's place */
};
_Static_assert(__builtin_offsetof(struct device_control, ownership) == 0x0, "device_control.ownership");
_Static_assert(__builtin_offsetof(struct device_control, reserved_8) == 0x8, "device_control.reserved_8");
_Static_assert(__builtin_offsetof(struct device_control, entry) == 0x40, "device_control.entry");
_Static_assert(__builtin_offsetof(struct device_control, reserved_150) == 0x150, "device_control.reserved_150");
_Static_assert(__builtin_offsetof(struct device_control, user) == 0x180, "device_control.user");
_Static_assert(__builtin_offsetof(struct device_control, reserved_1a8) == 0x1a8, "device_control.reserved_1a8");
_Static_assert(sizeof(struct device_control) == 0x1c0, "device_control");

/* What the driver set up, latched when it made the queue ready. */
struct setup {
	__u64 desc;	/* 0x000 descriptor table [guest-physical address] */
	__u64 avail;	/* 0x008 avail ring; of a packed ring, the driver's event area [guest-physical address] */
	__u64 used;	/* 0x010 used ring; of a packed ring, the device's event area [guest-physical address] */
	__u16 size;	/* 0x018 ring entries; of a split ring a power of two */
	__u8 ready;	/* 0x01a 1 while the queue may be served */
	__u8 event_index;	/* 0x01b 1 if VIRTIO_F_EVENT_IDX was negotiated */
	__u8 indirect;	/* 0x01c 1 if VIRTIO_F_INDIRECT_DESC was negotiated */
	__u8 packed;	/* 0x01d 1 if VIRTIO_F_RING_PACKED was negotiated */
	__u16 cause;	/* 0x01e where the register page tells the cause of an interrupt; 0 if it does not [bytes] */
};
_Static_assert(__builtin_offsetof(struct setup, desc) == 0x0, "setup.desc");
_Static_assert(__builtin_offsetof(struct setup, avail) == 0x8, "setup.avail");
_Static_assert(__builtin_offsetof(struct setup, used) == 0x10, "setup.used");
_Static_assert(__builtin_offsetof(struct setup, size) == 0x18, "setup.size");
_Static_assert(__builtin_offsetof(struct setup, ready) == 0x1a, "setup.ready");
_Static_assert(__builtin_offsetof(struct setup, event_index) == 0x1b, "setup.event_index");
_Static_assert(__builtin_offsetof(struct setup, indirect) == 0x1c, "setup.indirect");
_Static_assert(__builtin_offsetof(struct setup, packed) == 0x1d, "setup.packed");
_Static_assert(__builtin_offsetof(struct setup, cause) == 0x1e, "setup.cause");
_Static_assert(sizeof(struct setup) == 0x20, "setup");

/* Where the holder stands; the only memory of it that anyone has. */
struct position {
	__u16 next_avail;	/* 0x000 avail entry to serve next, free running; of a packed ring: its place, and wrap counter */
	__u16 next_used;	/* 0x002 used entry to write next, likewise */
	__u16 unsignalled;	/* 0x004 entries used since the driver's wish for an interrupt was last looked at */
	__u16 shown;	/* 0x006 of a packed ring: used entries that the driver can see end here */
	__u16 shown_flags;	/* 0x008 what to write there for it to see the others */
	__u16 reserved[3];	/* 0x00a to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct position, next_avail) == 0x0, "position.next_avail");
_Static_assert(__builtin_offsetof(struct position, next_used) == 0x2, "position.next_used");
_Static_assert(__builtin_offsetof(struct position, unsignalled) == 0x4, "position.unsignalled");
_Static_assert(__builtin_offsetof(struct position, shown) == 0x6, "position.shown");
_Static_assert(__builtin_offsetof(struct position, shown_flags) == 0x8, "position.shown_flags");
_Static_assert(__builtin_offsetof(struct position, reserved) == 0xa, "position.reserved");
_Static_assert(sizeof(struct position) == 0x10, "position");

/* shared state of one virtqueue */
struct virtqueue {
	const struct ownership ownership;	/* 0x000 who may serve */
	__u8 reserved_8[56];	/* 0x008 to the next field's place */
	const struct setup setup;	/* 0x040 what the driver set up */
	__u8 reserved_60[32];	/* 0x060 to the next field's place */
	struct entry entry;	/* 0x080 who is inside, and what came of it */
	__u8 reserved_190[48];	/* 0x190 to the next field's place */
	struct position position;	/* 0x1c0 where the holder stands */
	__u8 reserved_1d0[48];	/* 0x1d0 to the next field's place */
	const struct user_counters user;	/* 0x200 what the Python half did */
	__u8 reserved_228[24];	/* 0x228 to the next field's place */
};
_Static_assert(__builtin_offsetof(struct virtqueue, ownership) == 0x0, "virtqueue.ownership");
_Static_assert(__builtin_offsetof(struct virtqueue, reserved_8) == 0x8, "virtqueue.reserved_8");
_Static_assert(__builtin_offsetof(struct virtqueue, setup) == 0x40, "virtqueue.setup");
_Static_assert(__builtin_offsetof(struct virtqueue, reserved_60) == 0x60, "virtqueue.reserved_60");
_Static_assert(__builtin_offsetof(struct virtqueue, entry) == 0x80, "virtqueue.entry");
_Static_assert(__builtin_offsetof(struct virtqueue, reserved_190) == 0x190, "virtqueue.reserved_190");
_Static_assert(__builtin_offsetof(struct virtqueue, position) == 0x1c0, "virtqueue.position");
_Static_assert(__builtin_offsetof(struct virtqueue, reserved_1d0) == 0x1d0, "virtqueue.reserved_1d0");
_Static_assert(__builtin_offsetof(struct virtqueue, user) == 0x200, "virtqueue.user");
_Static_assert(__builtin_offsetof(struct virtqueue, reserved_228) == 0x228, "virtqueue.reserved_228");
_Static_assert(sizeof(struct virtqueue) == 0x240, "virtqueue");

#endif /* SPLITVMM_VIRTQUEUE_GEN_H */
