/* Generated from vmm/devmodel/devices/net.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_NET_GEN_H
#define SPLITVMM_NET_GEN_H

#include <linux/types.h>
#include "../virtqueue.gen.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum {
	NET_HEADER_BYTES = 0xc,
	NET_ETHER_BYTES = 0xe,
	NET_LARGEST_PACKET = 0x1001d,
};

enum status {
	STATUS_LINK_UP = 1,
	STATUS_ANNOUNCE = 2,
};

enum control_class {
	CONTROL_CLASS_RX = 0,
	CONTROL_CLASS_MAC = 1,
	CONTROL_CLASS_VLAN = 2,
	CONTROL_CLASS_ANNOUNCE = 3,
	CONTROL_CLASS_MQ = 4,
	CONTROL_CLASS_GUEST_OFFLOADS = 5,
};

/* Device configuration (VIRTIO 1.2, 5.1.4), at the transport's CONFIG. */
struct net_config {
	__u8 mac[6];	/* 0x000 the device's address */
	__le16 status;	/* 0x006 Status */
	__le16 max_virtqueue_pairs;	/* 0x008 receive and transmit queues each */
	__le16 mtu;	/* 0x00a largest packet without its Ethernet header [bytes] */
};
_Static_assert(__builtin_offsetof(struct net_config, mac) == 0x0, "net_config.mac");
_Static_assert(__builtin_offsetof(struct net_config, status) == 0x6, "net_config.status");
_Static_assert(__builtin_offsetof(struct net_config, max_virtqueue_pairs) == 0x8, "net_config.max_virtqueue_pairs");
_Static_assert(__builtin_offsetof(struct net_config, mtu) == 0xa, "net_config.mtu");
_Static_assert(sizeof(struct net_config) == 0xc, "net_config");

/* Head of every packet (VIRTIO 1.2, 5.1.6). */
struct net_header {
	__u8 flags;	/* 0x000 checksum to be done, or found good */
	__u8 gso_type;	/* 0x001 how to segment it */
	__le16 hdr_len;	/* 0x002 of the headers [bytes] */
	__le16 gso_size;	/* 0x004 of a segment [bytes] */
	__le16 csum_start;	/* 0x006 where checksumming starts [bytes] */
	__le16 csum_offset;	/* 0x008 where the sum goes, from there [bytes] */
	__le16 num_buffers;	/* 0x00a chains that the packet fills */
};
_Static_assert(__builtin_offsetof(struct net_header, flags) == 0x0, "net_header.flags");
_Static_assert(__builtin_offsetof(struct net_header, gso_type) == 0x1, "net_header.gso_type");
_Static_assert(__builtin_offsetof(struct net_header, hdr_len) == 0x2, "net_header.hdr_len");
_Static_assert(__builtin_offsetof(struct net_header, gso_size) == 0x4, "net_header.gso_size");
_Static_assert(__builtin_offsetof(struct net_header, csum_start) == 0x6, "net_header.csum_start");
_Static_assert(__builtin_offsetof(struct net_header, csum_offset) == 0x8, "net_header.csum_offset");
_Static_assert(__builtin_offsetof(struct net_header, num_buffers) == 0xa, "net_header.num_buffers");
_Static_assert(sizeof(struct net_header) == 0xc, "net_header");

#define NET_ID 1
#define NET_VERSION 1
#define NET_LAYOUT_HASH 0xe6a47b9e09a3ddaaull
#define NET_QUEUES 17

#define HANDLER_LOCKED 0	/* it has the device to itself */
#define HANDLER_RAISES 0	/* HANDLED_INTERRUPT raises the device's line */

enum net_decline {
	NET_DECLINE_HELD_BY_USER = 1,	/* userspace holds the queue */
	NET_DECLINE_NOT_READY = 2,	/* the queue is not set up */
	NET_DECLINE_MALFORMED = 3,	/* a chain breaks a rule of the specification */
	NET_DECLINE_OUTSIDE_RAM = 4,	/* an address is outside guest memory */
	NET_DECLINE_STRADDLES = 5,	/* a buffer spans two memory elements */
	NET_DECLINE_BUSY = 6,	/* other vCPUs kept the queue filled, or the device locked */
	NET_DECLINE_BUDGET = 7,	/* it asked for more than one exit may take, of bytes or of time */
	NET_DECLINE_RING_ASLEEP = 8,	/* submitted, but the thread that polls the ring sleeps */
	NET_DECLINE_IO_FAILED = 9,	/* asynchronous I/O came back with an error or short */
	NET_DECLINE_NO_RING = 10,	/* it takes real I/O, and there is no ring to do it through */
	NET_DECLINE_CONTROL = 11,	/* the control queue */
	NET_DECLINE_FRAMING = 12,	/* buffers cut in a way that the handler leaves to userspace */
	NET_DECLINE_SHORT = 13,	/* a receive buffer that cannot take every packet */
};

/* What may pass, and how. */
struct net_port {
	__u8 mac[6];	/* 0x000 the only source address, if `anti_spoof` */
	__u8 link_up;	/* 0x006 0: what is sent is dropped */
	__u8 anti_spoof;	/* 0x007 1: drop what is sent from another address */
	__u64 packets_per_s;	/* 0x008 limit of what is sent; 0 for none [packets per second] */
	__u64 bytes_per_s;	/* 0x010 limit of what is sent; 0 for none [bytes per second] */
	__u64 burst_ns;	/* 0x018 how far ahead of the limits a burst may be [ns] */
	__u32 receive_bytes;	/* 0x020 largest packet that may arrive, header included [bytes] */
	__u32 control_queue;	/* 0x024 its number */
	__u32 merge;	/* 0x028 1: a packet may fill several receive buffers, and large ones do */
	__u32 reserved1;	/* 0x02c to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct net_port, mac) == 0x0, "net_port.mac");
_Static_assert(__builtin_offsetof(struct net_port, link_up) == 0x6, "net_port.link_up");
_Static_assert(__builtin_offsetof(struct net_port, anti_spoof) == 0x7, "net_port.anti_spoof");
_Static_assert(__builtin_offsetof(struct net_port, packets_per_s) == 0x8, "net_port.packets_per_s");
_Static_assert(__builtin_offsetof(struct net_port, bytes_per_s) == 0x10, "net_port.bytes_per_s");
_Static_assert(__builtin_offsetof(struct net_port, burst_ns) == 0x18, "net_port.burst_ns");
_Static_assert(__builtin_offsetof(struct net_port, receive_bytes) == 0x20, "net_port.receive_bytes");
_Static_assert(__builtin_offsetof(struct net_port, control_queue) == 0x24, "net_port.control_queue");
_Static_assert(__builtin_offsetof(struct net_port, merge) == 0x28, "net_port.merge");
_Static_assert(__builtin_offsetof(struct net_port, reserved1) == 0x2c, "net_port.reserved1");
_Static_assert(sizeof(struct net_port) == 0x30, "net_port");

/* When what was sent so far would have been through at the limits; atomic, as transmit */
struct net_meter {
	__u64 packets_ns;	/* 0x000 by packets [ns] */
	__u64 bytes_ns;	/* 0x008 by bytes [ns] */
};
_Static_assert(__builtin_offsetof(struct net_meter, packets_ns) == 0x0, "net_meter.packets_ns");
_Static_assert(__builtin_offsetof(struct net_meter, bytes_ns) == 0x8, "net_meter.bytes_ns");
_Static_assert(sizeof(struct net_meter) == 0x10, "net_meter");

/* Packets that were not sent, by why; atomic. */
struct net_dropped {
	__u64 spoofed;	/* 0x000 from another source address */
	__u64 limited;	/* 0x008 beyond a limit */
	__u64 link_down;	/* 0x010 while the link is down */
	__u64 failed;	/* 0x018 refused by the backend */
};
_Static_assert(__builtin_offsetof(struct net_dropped, spoofed) == 0x0, "net_dropped.spoofed");
_Static_assert(__builtin_offsetof(struct net_dropped, limited) == 0x8, "net_dropped.limited");
_Static_assert(__builtin_offsetof(struct net_dropped, link_down) == 0x10, "net_dropped.link_down");
_Static_assert(__builtin_offsetof(struct net_dropped, failed) == 0x18, "net_dropped.failed");
_Static_assert(sizeof(struct net_dropped) == 0x20, "net_dropped");

/* shared state of Net */
struct net_state {
	struct device_control control;	/* 0x000 who holds the device, and counters */
	const struct net_port port;	/* 0x1c0 What may pass, and how. */
	__u8 reserved_1f0[16];	/* 0x1f0 to the next field's place */
	struct net_meter meter;	/* 0x200 When what was sent so far would have been through at the limits; atomic, as transmit */
	__u8 reserved_210[48];	/* 0x210 to the next field's place */
	struct net_dropped dropped;	/* 0x240 Packets that were not sent, by why; atomic. */
	__u8 reserved_260[32];	/* 0x260 to the next field's place */
	struct virtqueue queue[17];	/* 0x280 virtqueues, in order of declaration */
};
_Static_assert(__builtin_offsetof(struct net_state, control) == 0x0, "net_state.control");
_Static_assert(__builtin_offsetof(struct net_state, port) == 0x1c0, "net_state.port");
_Static_assert(__builtin_offsetof(struct net_state, reserved_1f0) == 0x1f0, "net_state.reserved_1f0");
_Static_assert(__builtin_offsetof(struct net_state, meter) == 0x200, "net_state.meter");
_Static_assert(__builtin_offsetof(struct net_state, reserved_210) == 0x210, "net_state.reserved_210");
_Static_assert(__builtin_offsetof(struct net_state, dropped) == 0x240, "net_state.dropped");
_Static_assert(__builtin_offsetof(struct net_state, reserved_260) == 0x260, "net_state.reserved_260");
_Static_assert(__builtin_offsetof(struct net_state, queue) == 0x280, "net_state.queue");
_Static_assert(sizeof(struct net_state) == 0x28c0, "net_state");

#endif /* SPLITVMM_NET_GEN_H */
