/* A network guest.
 *
 *   op=echo      answers ARP and ICMP echo, sends UDP datagrams back; one to port 9 ends it.  With a
 *                disk, and ring=3, it writes and reads that meanwhile, and checks what it reads
 *   op=transmit  bytes=N depth=N batches=N: sends frames of N bytes, `depth` for each doorbell;
 *                beyond 1514 bytes they are TCP segments that the host cuts up
 *                with stamps=N: times N batches one by one, in place of that
 *   op=receive   packets=N: counts what arrives, and times it
 *
 *   ip=0xADDRESS wait=poll|interrupt ring=0|3
 *   buffer=BYTES merge=1|2: echo with receive buffers of that size, and packets that fill several; 2: with
 *                checksums and segments left undone, too.  The other two have split rings of their own
 */
#include "net.h"
#include "stamps.h"

enum { BUFFER = 2048, LARGE = 0x11000 };

struct queue rx, tx;
u64 mac;
u32 ip;
int by_interrupt;
static u64 buffer_bytes;
static u32 buffers;
static u16 depth;
static u64 batches, stamps, wanted, begin, finish;

static u8 *buffer(u32 i) { return (u8 *)(BUFFERS + i * buffer_bytes); }

static void offer(struct queue *queue, u16 head)
{
	queue->avail->ring[queue->avail->idx % QUEUE_SIZE] = head;
	barrier();
	queue->avail->idx++;
}

static void post_all(void)
{
	for (u32 i = 0; i < buffers; i++) {
		rx.desc[i] = (struct desc){ (u64)buffer(i), buffer_bytes, WRITE, 0 };
		offer(&rx, i);
	}
	queue_ring(&rx);
}

static void report(const char *what, u64 count)
{
	print(what);
	print(": packets=");
	print_number(count);
	print(" ticks=");
	print_number(finish - begin);
	print("\n");
	end(0);
}

/* transmit */

static void prepare_frames(u32 bytes)
{
	for (u32 i = 0; i < QUEUE_SIZE; i++) {
		u8 *frame = buffer(i % 4) + HEADER, *packet = frame + ETHER;

		if (i < 4) {
			memset(frame - HEADER, 0, HEADER + bytes);
			store32(frame, 0x00000002);	/* to nobody: the host's stack drops it at once */
			store16(frame + 4, 0x0100);
			put_mac(frame + 6);
			store16(frame + 12, swap16(IPV4));
			packet[0] = 0x45;
			store16(packet + 2, swap16(bytes - ETHER));
			packet[8] = 64;
			packet[9] = bytes > 1514 ? 6 : UDP;
			store32(packet + 12, swap32(ip));
			store32(packet + 16, swap32(ip + 1));
			packet[32] = 5 << 4;		/* of TCP: header length */
			if (bytes > 1514) {
				u8 *head = frame - HEADER;

				head[0] = 1;			/* NEEDS_CSUM */
				head[1] = 1;			/* GSO_TCPV4 */
				store16(head + 2, 54);
				store16(head + 4, 1448);
				store16(head + 6, 34);
				store16(head + 8, 16);
			}
		}
		tx.desc[i] = (struct desc){ (u64)buffer(i % 4), HEADER + bytes, 0, 0 };
		tx.avail->ring[i] = i;
	}
}

static void send_batches(u64 count)
{
	volatile u16 *avail = &tx.avail->idx, *used = &tx.used->idx;
	volatile u32 *bell = (volatile u32 *)tx.bell;
	u16 index = *avail, room = QUEUE_SIZE - depth;

	begin = ticks();
	while (count--) {
		index += depth;
		barrier();
		*avail = index;
		*bell = 1;
		while ((u16)(index - *used) > room)
			;
	}
	while (*used != index)
		;
	finish = ticks();
}

/* Each batch by itself, from before it is made available to when it is seen to be used. */
static void send_stamped(u32 count)
{
	volatile u16 *avail = &tx.avail->idx, *used = &tx.used->idx;
	volatile u32 *bell = (volatile u32 *)tx.bell;
	u16 index = *avail;

	for (u32 i = 0; i < count; i++) {
		struct stamp begin, end;

		index += depth;
		begin = stamp();
		*avail = index;
		*bell = 1;
		while (*used != index)
			;
		end = stamp();
		stamped[i] = (struct stamped){ begin, end };
	}
}

static void transmit(void)
{
	send_batches(8);
	if (stamps) {
		send_stamped(stamps);
		stamps_count(stamps);
		stamps_report();
		end(0);
	}
	send_batches(batches);
	report("transmit", batches * depth);
}

/* receive */

static void receive(void)
{
	u64 count = 0;
	u16 posted = 0;

	while (count < wanted) {
		u16 used = rx.used->idx;

		if (rx.last == used)
			continue;
		if ((u16)(used - rx.last) > QUEUE_SIZE)
			fail("used index", used, rx.last);
		if (!count)
			begin = ticks();
		for (; rx.last != used; rx.last++, count++, posted++)
			rx.avail->ring[(u16)(rx.avail->idx + posted) % QUEUE_SIZE] = rx.used->elem[rx.last % QUEUE_SIZE].id;
		if (posted >= 32) {
			barrier();
			rx.avail->idx += posted;
			posted = 0;
			queue_ring(&rx);
		}
	}
	finish = ticks();
	report("receive", count - 1);
}

static void start(void)
{
	if (option_is("op", "transmit"))
		transmit();
	if (option_is("op", "receive"))
		receive();
	echo(buffers, buffer_bytes);
}

static u64 features(int large)
{
	u64 wanted = F_MAC | features_asked();

	if (option("merge", 0))
		wanted |= F_MERGE;
	if (large || option("merge", 0) == 2)
		wanted |= F_CSUM | F_GUEST_CSUM | F_HOST_TSO4 | F_GUEST_TSO4;
	return wanted;
}

static void on_card_interrupt(void *of)
{
	((struct device *)of)->transport->acknowledge(of);
}

static void card_start(struct device *device, int large)
{
	device_start(device, features(large));
	mac = read32(device->config) | (u64)read16(device->config + 4) << 32;
	if (option_is("op", "echo")) {
		queue_start(device, &rx, 0, (void *)RINGS);
		queue_start(device, &tx, 1, (void *)RINGS + 0x10000);
	} else {
		queue_start_raw(device, &rx, 0, (void *)RINGS);
		queue_start_raw(device, &tx, 1, (void *)RINGS + 0x10000);
	}
	queue_quiet(&tx);
	queue_quiet(&rx);
	device_ready(device);
	if (by_interrupt) {
		interrupt_handle(FIRST_VECTOR, on_card_interrupt, device);
		device->transport->route(device, 0, FIRST_VECTOR, 0);
	}
}

int run(void)
{
	static struct device found[8];
	struct device *card = NULL, *disk = NULL;
	int count = find_devices(found, 8), large = option("bytes", 64) > 1514;

	for (int i = 0; i < count; i++) {
		if (found[i].id == ID_NET && !card)
			card = &found[i];
		if (found[i].id == ID_BLK && !disk && option("ring", 0) == 3)
			disk = &found[i];
	}
	if (!card)
		fail("network cards", 0, 1);
	if (disk)
		disk_start(disk);
	ip = option("ip", 0x0a000002);
	depth = option("depth", 32);
	batches = option("batches", 1000);
	stamps = option("stamps", 0);
	if (stamps > MOST_STAMPED)
		fail("stamps", stamps, MOST_STAMPED);
	wanted = option("packets", 10000);
	by_interrupt = option_is("wait", "interrupt");
	buffer_bytes = option("buffer", large ? LARGE : BUFFER);
	buffers = large ? 64 : QUEUE_SIZE;
	card_start(card, large);
	if (option_is("op", "transmit"))
		prepare_frames(option("bytes", 64));
	else if (option_is("op", "receive"))
		post_all();
	print("net: ready\n");
	if (option("ring", 0) == 3)
		enter_ring3(start);
	start();
	return 0;
}
