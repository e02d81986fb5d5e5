/* The network guest as a peer that answers: see net.h.
 *
 * A packet may fill several buffers (5.1.6.4.1).  Each buffer is with the receive queue, or with the
 * transmit queue as part of the answer to what it held.
 */
#include "net.h"

enum { MOST = QUEUE_SIZE, END_PORT = 9 };

struct packet { u16 buffers; u16 number[MOST]; u32 length[MOST]; };

static struct packet packets[MOST];	/* by the number of their first buffer */
static u32 bytes;
static u64 answered, most;	/* packets; buffers of one */

static u8 *buffer(u32 i) { return (u8 *)BUFFERS + (u64)i * bytes; }

static void post(u32 i)
{
	struct buffer whole = { (u64)buffer(i), bytes, 1 };

	queue_put(&rx, &whole, 1, i, NULL);
}

/* Turn a packet into its answer: 1; 0 if it has none; -1 at the end. */
static int answer(u8 *frame, u32 length)
{
	u16 type = swap16(load16(frame + 12));
	u8 *packet = frame + ETHER, *inner;

	if (length < ETHER + 28)
		return 0;
	if (type == ARP) {
		if (swap16(load16(packet + 6)) != 1 || swap32(load32(packet + 24)) != ip)
			return 0;
		store16(packet + 6, swap16(2));
		store32(packet + 18, load32(packet + 8));	/* sender becomes target */
		store16(packet + 22, load16(packet + 12));
		store32(packet + 24, load32(packet + 14));
		put_mac(packet + 8);
		store32(packet + 14, swap32(ip));
	} else if (type == IPV4 && packet[0] == 0x45 && swap32(load32(packet + 16)) == ip) {
		inner = packet + 20;
		if (packet[9] == ICMP && inner[0] == 8) {
			u32 sum = swap16(load16(inner + 2)) + 0x0800;

			inner[0] = 0;
			store16(inner + 2, swap16(sum + (sum >> 16)));
		} else if (packet[9] == UDP) {
			u16 from = load16(inner);

			if (swap16(load16(inner + 2)) == END_PORT)
				return -1;
			store16(inner, load16(inner + 2));
			store16(inner + 2, from);
		} else {
			return 0;
		}
		store32(packet + 16, load32(packet + 12));
		store32(packet + 12, swap32(ip));
	} else {
		return 0;
	}
	store32(frame, load32(frame + 6));
	store16(frame + 4, load16(frame + 10));
	put_mac(frame + 6);
	return 1;
}

/* The header as an answer has it: a checksum that was left to us is left to the device. */
static void answer_header(u8 *header)
{
	header[HEADER_FLAGS] &= NEEDS_CSUM;
	if (header[HEADER_GSO])
		fail("segmentation of a received packet", header[HEADER_GSO], 0);
	store32(header + 2, 0);		/* hdr_len, gso_size */
	if (!header[HEADER_FLAGS])
		store32(header + HEADER_CSUM, 0);
	store16(header + HEADER_BUFFERS, 0);
}

/* The next packet with all of its buffers, which the device makes available together; NULL: none. */
static struct packet *receive_packet(void)
{
	u32 number, length, count = 1;
	struct packet *packet;

	if (!queue_take(&rx, &number, &length))
		return NULL;
	packet = &packets[number];
	if (rx.device->features & F_MERGE)
		count = load16(buffer(number) + HEADER_BUFFERS);
	if (!count || count > rx.size)
		fail("buffers of a packet", count, 1);
	packet->buffers = count;
	for (u32 i = 0;;) {
		packet->number[i] = number;
		packet->length[i] = length;
		if (++i == count)
			break;
		if (length != bytes)
			fail("bytes of a buffer that is not the last", length, bytes);
		if (!queue_take(&rx, &number, &length))
			fail("buffers of a packet that are there", i, count);
	}
	return packet;
}

static void send(struct packet *packet)
{
	static struct buffer parts[MOST];

	for (u32 i = 0; i < packet->buffers; i++)
		parts[i] = (struct buffer){ (u64)buffer(packet->number[i]), packet->length[i], 0 };
	answer_header(buffer(packet->number[0]));
	queue_put(&tx, parts, packet->buffers, packet->number[0], NULL);
	answered++;
}

static void post_packet(const struct packet *packet)
{
	for (u32 i = 0; i < packet->buffers; i++)
		post(packet->number[i]);
}

__attribute__((noreturn)) static void finish(void)
{
	disk_finish();
	print("echo: answered=");
	print_number(answered);
	print(" requests=");
	print_number(disk_requests);
	print(" most=");
	print_number(most);
	print("\n");
	end(0);
}

/* What has arrived, answered or given back; returns whether anything had. */
static int answer_all(void)
{
	int sent = 0, posted = 0;
	struct packet *packet;

	while ((packet = receive_packet())) {
		int verdict = answer(buffer(packet->number[0]) + HEADER, packet->length[0] - HEADER);

		if (packet->buffers > most)
			most = packet->buffers;
		if (verdict < 0)
			finish();
		if (verdict)
			send(packet), sent = 1;
		else
			post_packet(packet), posted = 1;
	}
	if (sent)
		queue_notify(&tx);
	if (posted)
		queue_notify(&rx);
	return sent || posted;
}

static void take_back(void)
{
	u32 first, length;
	int posted = 0;

	while (queue_take(&tx, &first, &length))
		post_packet(&packets[first]), posted = 1;
	if (posted)
		queue_notify(&rx);
}

void echo(u32 count, u32 each)
{
	bytes = each;
	for (u32 i = 0; i < count; i++)
		post(i);
	queue_notify(&rx);
	for (;;) {
		int busy = answer_all();

		disk_step();
		take_back();
		/* sent buffers come back without an interrupt: look for them as long as there are any */
		if (by_interrupt && !busy && tx.room == tx.size && !queue_listen(&rx))
			wait_for_interrupt();
	}
}
