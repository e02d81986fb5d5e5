/* Drivers of virtio devices (VIRTIO 1.2): by either transport, with rings of either kind, plain enough
 * to be obviously right.
 *
 *   packed=1       accept packed rings; a device that does not offer them is a failure
 *   event=1        accept the event index
 *   transport=pci  wanted of every device (or mmio); default: as it comes
 */
#ifndef VIRTIO_H
#define VIRTIO_H

#include "guest.h"

#define QUEUE_SIZE	256	/* most entries of a ring; a device may allow fewer */
#define QUEUE_BYTES	16384	/* of memory that a ring takes */

enum { ID_NET = 1, ID_BLK = 2, ID_CONSOLE = 3, ID_RNG = 4 };
enum { F_INDIRECT = 1 << 28, F_EVENT = 1 << 29 };
#define F_VERSION_1	(1ull << 32)
#define F_PACKED	(1ull << 34)
enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };			/* descriptor flags, 2.7.5 */
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64 };	/* status, 2.1 */

struct desc { u64 addr; u32 len; u16 flags, next; };
struct avail { u16 flags, idx, ring[QUEUE_SIZE + 1]; };	/* after the last entry: used_event */
struct used { u16 flags, idx; struct { u32 id, len; } elem[QUEUE_SIZE + 1]; };	/* and avail_event */
struct packed_desc { u64 addr; u32 len; u16 id, flags; };
struct packed_event { u16 position, flags; };

struct device {
	const struct transport *transport;
	u64 base;		/* of the transport's registers */
	u64 config;		/* of device configuration */
	u32 id;			/* virtio device number */
	u32 pin;		/* MMIO: of the I/O APIC */
	u64 features;		/* negotiated */
	u64 doorbells;		/* PCI: of queue 0, and bytes from one to the next */
	u32 doorbell_step;
	u64 vectors, pending;	/* PCI: MSI-X table, and pending bits */
};

struct buffer { u64 addr; u32 len, write; };	/* `write`: by the device */

/* What a driver does with the registers of either transport. */
struct transport {
	u8 (*status)(struct device *device);
	void (*set_status)(struct device *device, u8 status);
	u64 (*offered)(struct device *device);
	void (*accept)(struct device *device, u64 features);
	u16 (*largest)(struct device *device, u16 queue);	/* selects it, too */
	u64 (*start)(struct device *device, u16 queue, u16 size, u64 desc, u64 driver, u64 used);	/* its doorbell */
	void (*route)(struct device *device, u16 queue, u8 vector, int masked);
	void (*acknowledge)(struct device *device);
};
extern const struct transport virtio_mmio, virtio_pci;

/* Registers that either transport has, at these places: features through a window of 32 bits, addresses in
 * halves. */
u64 features_read(u64 select, u64 window);
void features_write(u64 select, u64 window, u64 features);
static inline void write_address(u64 at, u64 value) { write32(at, value), write32(at + 4, value >> 32); }

struct queue {
	struct device *device;
	u64 bell;
	u16 index, size;
	int event;				/* event index negotiated */
	const struct ring *ring;
	union {
		struct {			/* split */
			volatile struct desc *desc;
			volatile struct avail *avail;
			volatile struct used *used;
		};
		struct {			/* packed */
			volatile struct packed_desc *slots;
			volatile struct packed_event *driver_event, *device_event;
		};
	};
	u16 next, last;				/* entry to be made available next, and to be used next */
	u16 next_wrap, last_wrap;		/* packed: wrap counters there */
	u16 held, held_flags, added;		/* packed: first descriptor not yet shown, and how many are not */
	u16 free, room;				/* first free descriptor (split) or id (packed); free descriptors */
	u16 link[QUEUE_SIZE], chain[QUEUE_SIZE];	/* list of the free ones; length of a chain in flight */
	u32 token[QUEUE_SIZE];
};

/* A kind of ring.  `put` lays out a chain, in `table` if there is one; `show` makes what was put
 * available, and tells whether the device wants a doorbell; `take` takes back a used chain;
 * `listen` asks for an interrupt at the next one. */
struct ring {
	void (*start)(struct queue *queue);
	void (*put)(struct queue *queue, const struct buffer *buffers, u32 count, u32 token, struct desc *table);
	int (*show)(struct queue *queue);
	int (*take)(struct queue *queue, u32 *token, u32 *length);
	void (*listen)(struct queue *queue);
	void (*quiet)(struct queue *queue);
	int (*waiting)(struct queue *queue);	/* whether there is one to take */
};
extern const struct ring split_ring, packed_ring;

/* Every device, by both transports; those of PCI first. */
int find_devices(struct device *found, int most);
int find_mmio(struct device *found, int most);
int find_pci(struct device *found, int most);

void device_start(struct device *device, u64 features);	/* reset, negotiate what is offered of these */
u64 features_asked(void);				/* by the command line: packed, event */
void device_ready(struct device *device);
void queue_start(struct device *device, struct queue *queue, u16 index, void *memory);
/* For guests that write split rings of QUEUE_SIZE entries by themselves. */
void queue_start_raw(struct device *device, struct queue *queue, u16 index, void *memory);

void queue_put(struct queue *queue, const struct buffer *buffers, u32 count, u32 token, struct desc *table);
void queue_ring(struct queue *queue);
void queue_notify(struct queue *queue);		/* show, and ring if the device wants that */
int queue_take(struct queue *queue, u32 *token, u32 *length);
int queue_listen(struct queue *queue);		/* whether there are used ones already: no interrupt for those */
void queue_quiet(struct queue *queue);

/* Whether an index that went from `before` to `now` has passed `event` (2.7.10.1). */
static inline int passed(u16 event, u16 now, u16 before) { return (u16)(now - event - 1) < (u16)(now - before); }

#endif
