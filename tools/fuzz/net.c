/* virtio-net: packets to and from a TAP. */
#include "host.h"
#include "net/net.c"
#define HAS_RINGS 1
#define STATE struct net_state
#include "run.h"

/* of the setup's `device`, and of what a change says */
enum { LINK_DOWN = 1, ANTI_SPOOF = 2, PACKETS = 4, BYTES = 8, MERGE = 16 };
static const __u8 our_mac[6] = { 2, 0, 0, 0, 0, 1 };

static void set_port(__u32 how)
{
	struct net_port *port = (void *)&state->port;

	*port = (struct net_port){ .link_up = !(how & LINK_DOWN), .anti_spoof = !!(how & ANTI_SPOOF),
				   .packets_per_s = how & PACKETS ? 1 + (how >> 8 & 0xffff) : 0,
				   .bytes_per_s = how & BYTES ? 1 + (how >> 8 & 0xffffff) : 0, .burst_ns = 50000000,
				   .receive_bytes = port->receive_bytes, .control_queue = 2, .merge = port->merge };
	memcpy(port->mac, our_mac, sizeof(our_mac));
}

static void device_set_up(const struct setup_record *setup)
{
	struct net_port *port = (void *)&state->port;

	port->merge = !!(setup->device & MERGE);
	port->receive_bytes = port->merge ? 12 + 65549 : 12 + 14 + 4 + 1500;
	if (setup->more & 1)
		port->receive_bytes = 64;	/* which a few small buffers fill */
	set_port(setup->device);
}

static void device_change(const struct record *record)
{
	set_port(record->b);
}

static int device_request(int queue, const struct record *record, struct part *part)
{
	static const __u16 lengths[] = { 1530, 64, 12, 4096, 26, 11, 2048, 27 };
	static const __u8 counts[] = { 1, 1, 2, 3, 32, 33, 4, 31 };
	__u32 length = lengths[record->a & 7], flat = DATA + 0x400 + (record->b & 0x7f) * 256;
	int count = spread(part, counts[record->a >> 3 & 7], flat, length, (queue & 1) ^ !(record->a & 0x100));

	if (queue & 1 && !(record->a & 0x40))
		guest_store(part[0].gpa + SOURCE_AT, our_mac, sizeof(our_mac));
	return count;
}

static void device_served(int queue)
{
	(void)queue;
}

/* Packets are read into buffers when there are some; and no more buffers are taken than the largest packet needs. */
static int device_may_wait(int queue)
{
	return queue == 0;
}

static int tag_of_no_chain(const struct tag *tag)
{
	return tag->kind == MERGED;
}

static void device_check_entry(const struct sqe *sqe, __u64 bytes)
{
	require(sqe->off == ~0ull && bytes, "%llu bytes at %llu of a stream", bytes, sqe->off);
}

#include "stream.h"
