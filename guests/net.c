/* A network guest.
 *
 *   op=echo      answers ARP and ICMP echo, sends UDP datagrams back; one to port 9 ends it.  With a
 *                disk, and ring=3, it writes and reads that meanwhile, and checks what it reads
 *   op=transmit  bytes=N depth=N batches=N: sends frames of N bytes, `depth` for each doorbell;
 *                beyond 1514 bytes they are TCP segments that the host cuts up
 *   op=receive   packets=N: counts what arrives, and times it
 *
 *   ip=0xADDRESS wait=poll|interrupt ring=0|3 toggle
 */
#include "guest.h"

enum { F_CSUM = 1 << 0, F_GUEST_CSUM = 1 << 1, F_MAC = 1 << 5, F_FLUSH = 1 << 9, F_GUEST_TSO4 = 1 << 7, F_HOST_TSO4 = 1 << 11 };
enum { HEADER = 12, ETHER = 14, BUFFER = 2048, LARGE = 0x11000, BUFFERS = HEAP + 0x100000 };
enum { ARP = 0x0806, IPV4 = 0x0800, ICMP = 1, UDP = 17, END_PORT = 9 };

static struct queue rx, tx;
static u64 mac, buffer_bytes = BUFFER;
static u32 ip;
static u16 depth;
static u64 batches, wanted, begin, finish, answered;
static int by_interrupt;

static u8 *buffer(u32 i) { return (u8 *)(BUFFERS + i * buffer_bytes); }
static u16 swap16(u16 v) { return v << 8 | v >> 8; }
static u32 swap32(u32 v) { return __builtin_bswap32(v); }
static u16 load16(const u8 *at) { return *(const u16 *)at; }
static u32 load32(const u8 *at) { return *(const u32 *)at; }
static void store16(u8 *at, u16 v) { *(u16 *)at = v; }
static void store32(u8 *at, u32 v) { *(u32 *)at = v; }

static void put_mac(u8 *at)
{
	store32(at, mac);
	store16(at + 4, mac >> 32);
}

static void offer(struct queue *queue, u16 head)
{
	queue->avail->ring[queue->avail->idx % QUEUE_SIZE] = head;
	barrier();
	queue->avail->idx++;
}

static void notify(struct queue *queue)
{
	write32(queue->base + NOTIFY, queue->index);
}

static void post_all(u32 count)
{
	for (u32 i = 0; i < count; i++) {
		rx.desc[i] = (struct desc){ (u64)buffer(i), buffer_bytes, WRITE, 0 };
		offer(&rx, i);
	}
	notify(&rx);
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

/* the disk: DISK_DEPTH pieces at a time are written, read back, and now and then flushed */

enum { DISK_DEPTH = 16, PIECE = 4096, PIECES = 2048, PHASES = 3 };
static struct queue disk;
static u64 disk_rounds, disk_requests;
static const u64 DISK_DATA = BUFFERS + 0x1000000, DISK_HEADERS = HEAP + 0x30000;

static u64 pattern(u64 round, u64 i, u64 k) { return (round * 31 + i) * 0x9e3779b97f4a7c15ull + k; }
static u64 *piece(u64 i) { return (u64 *)(DISK_DATA + i * PIECE); }
static volatile u8 *disk_status(u64 i) { return (u8 *)DISK_HEADERS + 0x1000 + i; }

static void disk_submit(u64 i, u32 type)
{
	struct { u32 type, reserved; u64 sector; } *header = (void *)(DISK_HEADERS + 16 * i);
	volatile struct desc *desc = &disk.desc[3 * i];
	u64 place = (disk_rounds / PHASES * DISK_DEPTH + i) % PIECES;

	header->type = type;
	header->sector = type == 4 ? 0 : place * (PIECE / SECTOR);
	*disk_status(i) = 0xff;
	desc[0] = (struct desc){ (u64)header, 16, NEXT, 3 * i + (type == 4 ? 2 : 1) };
	desc[1] = (struct desc){ (u64)piece(i), PIECE, NEXT | (type ? 0 : WRITE), 3 * i + 2 };
	desc[2] = (struct desc){ (u64)disk_status(i), 1, WRITE, 0 };
	offer(&disk, 3 * i);
	disk_requests++;
}

static void disk_next(void)
{
	u64 phase = disk_rounds % PHASES, round = disk_rounds / PHASES;

	for (u64 i = 0; i < (phase == 2 ? 1 : DISK_DEPTH); i++) {
		for (u64 k = 0; phase < 2 && k < PIECE / 8; k += 64)
			piece(i)[k] = phase ? 0 : pattern(round, i, k);
		disk_submit(i, phase == 0 ? 1 : phase == 1 ? 0 : 4);
	}
	notify(&disk);
}

static void disk_check(void)
{
	u64 phase = disk_rounds % PHASES, round = disk_rounds / PHASES;

	for (u64 i = 0; i < (phase == 2 ? 1 : DISK_DEPTH); i++) {
		if (*disk_status(i))
			fail("disk status", *disk_status(i), 0);
		for (u64 k = 0; phase == 1 && k < PIECE / 8; k += 64)
			if (piece(i)[k] != pattern(round, i, k))
				fail("disk data", piece(i)[k], pattern(round, i, k));
	}
}

/* If all that was asked of the disk is done, check it and ask for more. */
static void disk_step(void)
{
	if (!disk.base || disk.used->idx != disk.avail->idx)
		return;
	if (disk_requests)
		disk_check(), disk_rounds++;
	disk_next();
}

static void disk_finish(void)
{
	while (disk.base && disk.used->idx != disk.avail->idx)
		;
	if (disk_requests)
		disk_check();
}

/* echo */

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

/* A buffer is with the receive queue, or with the transmit queue as the answer to what it held. */
static void echo(void)
{
	for (;;) {
		int sent = 0, posted = 0;

		disk_step();
		while (rx.last != rx.used->idx) {
			u32 id = rx.used->elem[rx.last % QUEUE_SIZE].id, length = rx.used->elem[rx.last % QUEUE_SIZE].len;
			int verdict = answer(buffer(id) + HEADER, length - HEADER);

			rx.last++;
			if (verdict < 0) {
				disk_finish();
				print("echo: answered=");
				print_number(answered);
				print(" requests=");
				print_number(disk_requests);
				print("\n");
				end(0);
			}
			if (verdict) {
				memset(buffer(id), 0, HEADER);
				tx.desc[id] = (struct desc){ (u64)buffer(id), length, 0, 0 };
				offer(&tx, id);
				sent = 1;
				answered++;
			} else {
				offer(&rx, id);
				posted = 1;
			}
		}
		if (sent)
			notify(&tx);
		while (tx.last != tx.used->idx) {
			offer(&rx, tx.used->elem[tx.last++ % QUEUE_SIZE].id);
			posted = 1;
		}
		if (posted)
			notify(&rx);
		/* sent buffers come back without an interrupt: look for them as long as there are any */
		if (by_interrupt && !sent && tx.last == tx.avail->idx && rx.last == rx.used->idx)
			wait_for_interrupt();
	}
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
	volatile u32 *bell = (volatile u32 *)(tx.base + NOTIFY);
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

static void transmit(void)
{
	send_batches(8);
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
			notify(&rx);
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
	echo();
}

int run(void)
{
	struct device found[8], *device = NULL;
	int count = find_devices(found, 8);
	u32 bytes = option("bytes", 64), features = F_MAC;
	int large = bytes > 1514;

	for (int i = 0; i < count; i++) {
		u32 id = read32(found[i].base + DEVICE_ID);

		if (id == 1 && !device)
			device = &found[i];
		if (id == 2 && !disk.base && option("ring", 0) == 3) {
			device_start(&found[i], F_FLUSH);
			queue_start(&found[i], &disk, 0, (void *)HEAP + 0x20000);
			disk.avail->flags = 1;
			device_ready(&found[i]);
		}
	}
	if (!device)
		fail("network cards", 0, 1);
	ip = option("ip", 0x0a000002);
	depth = option("depth", 32);
	batches = option("batches", 1000);
	wanted = option("packets", 10000);
	by_interrupt = option_is("wait", "interrupt");
	if (large) {
		features |= F_CSUM | F_GUEST_CSUM | F_HOST_TSO4 | F_GUEST_TSO4;
		buffer_bytes = LARGE;
	}
	device_start(device, features);
	mac = read32(device->base + CONFIG) | (u64)read32(device->base + CONFIG + 4) << 32;
	queue_start(device, &rx, 0, (void *)HEAP);
	queue_start(device, &tx, 1, (void *)(HEAP + 0x10000));
	tx.avail->flags = 1;
	rx.avail->flags = !by_interrupt;
	device_ready(device);
	if (by_interrupt)
		interrupts_start(device);
	if (option_is("op", "transmit"))
		prepare_frames(bytes);
	else
		post_all(large ? 64 : QUEUE_SIZE);
	print("net: ready\n");
	if (option("ring", 0) == 3)
		enter_ring3(start);
	start();
	return 0;
}
