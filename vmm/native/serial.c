#include "serial.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Registers by their offsets; two of them lie below others while LCR_DLAB is set. */
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR, DLL = DATA, DLM = IER };
enum { IER_RECEIVED = 1, IER_EMPTY = 2, IER_BITS = 0xf };
enum { IIR_NONE = 1, IIR_EMPTY = 2, IIR_RECEIVED = 4, IIR_FIFOS = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RECEIVED = 2, LCR_DLAB = 0x80, MCR_LOOP = 0x10, MSR_CONNECTED = 0xb0 };
enum { LSR_READY = 1, LSR_OVERRUN = 2, LSR_IDLE = 0x60 };	/* the transmitter is always done with what it got */
enum { FIFO_BYTES = 16 };

/* Bytes on their way, the oldest first; `size` is a power of two, the indices run freely. */
struct bytes { uint32_t first, behind, size; uint8_t *data; };

struct serial {
	pthread_mutex_t lock;		/* of all below */
	int sent_fd, room_fd;
	uint8_t ier, lcr, mcr, scr, dll, dlm, fcr;
	int empty_pending, overrun;
	struct bytes received;		/* the receiver: its FIFO, or its one register */
	struct bytes waiting;		/* sent to us, and not in the receiver yet */
	struct bytes sent;		/* by the guest, and not taken yet */
	uint64_t sent_ever;
	uint8_t in_fifo[FIFO_BYTES], in_waiting[SERIAL_WAITING], in_sent[SERIAL_SENT];
};

static uint32_t held(const struct bytes *bytes)
{
	return bytes->behind - bytes->first;
}

static void put(struct bytes *bytes, uint8_t value)
{
	bytes->data[bytes->behind++ % bytes->size] = value;
}

static uint8_t get(struct bytes *bytes)
{
	return bytes->data[bytes->first++ % bytes->size];
}

static void clear(struct bytes *bytes)
{
	bytes->first = bytes->behind;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return;		/* it is signalled already */
}

static void unsignal_fd(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return;		/* it was not signalled */
}

/* `sent_fd` is an eventfd, signalled when there is something to take; -1 throws away what is sent.  `room_fd` is one
 * that is readable while serial_receive() takes more.  Both stay the caller's. */
struct serial *serial_new(int sent_fd, int room_fd)
{
	struct serial *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	pthread_mutex_init(&port->lock, NULL);
	port->sent_fd = sent_fd;
	port->room_fd = room_fd;
	port->lcr = 3;		/* eight bits */
	port->mcr = 8;		/* OUT2, which lets interrupts through on a PC */
	port->dll = 12;		/* 9,600 baud */
	port->received = (struct bytes){ .size = FIFO_BYTES, .data = port->in_fifo };
	port->waiting = (struct bytes){ .size = SERIAL_WAITING, .data = port->in_waiting };
	port->sent = (struct bytes){ .size = SERIAL_SENT, .data = port->in_sent };
	return port;
}

void serial_free(struct serial *port)
{
	pthread_mutex_destroy(&port->lock);
	free(port);
}

/* Interrupts */

static uint8_t cause(const struct serial *port)
{
	if (held(&port->received) && port->ier & IER_RECEIVED)
		return IIR_RECEIVED;
	if (port->empty_pending && port->ier & IER_EMPTY)
		return IIR_EMPTY;
	return IIR_NONE;
}

static int raised(const struct serial *port)
{
	return cause(port) == IIR_NONE ? 0 : SERIAL_RAISE;
}

/* Reading IIR clears an empty transmitter's cause. */
static uint8_t identify(struct serial *port)
{
	uint8_t found = cause(port);

	if (found == IIR_EMPTY)
		port->empty_pending = 0;
	return found | (port->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

/* The receiver */

static uint32_t depth(const struct serial *port)
{
	return port->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

/* It takes what waits, unless it listens to its own transmitter. */
static void refill(struct serial *port)
{
	int was_full = held(&port->waiting) == SERIAL_WAITING;

	if (port->mcr & MCR_LOOP)
		return;
	while (held(&port->waiting) && held(&port->received) < depth(port))
		put(&port->received, get(&port->waiting));
	if (was_full && held(&port->waiting) < SERIAL_WAITING)
		signal_fd(port->room_fd);
}

/* Overrun (data sheet, LSR bit 1): a full FIFO stays as it is, a full register is overwritten. */
static void loop_back(struct serial *port, uint8_t value)
{
	if (held(&port->received) >= depth(port)) {
		port->overrun = 1;
		if (depth(port) > 1)
			return;
		clear(&port->received);
	}
	put(&port->received, value);
}

/* To switch the FIFOs on or off empties them, too (FCR bit 0). */
static void control_fifos(struct serial *port, uint8_t value)
{
	if (value & FCR_CLEAR_RECEIVED || (value ^ port->fcr) & FCR_ENABLE)
		clear(&port->received);
	port->fcr = value;
	refill(port);
}

static uint8_t next_received(struct serial *port)
{
	uint8_t value = held(&port->received) ? get(&port->received) : 0;

	refill(port);
	return value;
}

/* Bytes from outside, for the guest to read: `taken` of them, for as many there was room.  SERIAL_RAISE, or 0. */
int serial_receive(struct serial *port, const uint8_t *data, uint32_t bytes, uint32_t *taken)
{
	int result;

	pthread_mutex_lock(&port->lock);
	for (*taken = 0; *taken < bytes && held(&port->waiting) < SERIAL_WAITING; ++*taken)
		put(&port->waiting, data[*taken]);
	if (*taken && held(&port->waiting) == SERIAL_WAITING)
		unsignal_fd(port->room_fd);
	refill(port);
	result = raised(port);
	pthread_mutex_unlock(&port->lock);
	return result;
}

/* The transmitter */

/* Whoever takes is told of the first byte alone. */
static void say(struct serial *port, uint8_t value)
{
	port->sent_ever++;
	if (port->sent_fd < 0)
		return;
	if (!held(&port->sent))
		signal_fd(port->sent_fd);
	put(&port->sent, value);
}

static int send(struct serial *port, uint8_t value)
{
	if (port->mcr & MCR_LOOP)
		loop_back(port, value);
	else if (held(&port->sent) == SERIAL_SENT)
		return SERIAL_FULL;
	else
		say(port, value);
	port->empty_pending = 1;
	return raised(port);
}

/* Everything that was sent and not taken yet, SERIAL_SENT bytes at most: how many there were. */
uint32_t serial_take(struct serial *port, uint8_t *into)
{
	uint32_t bytes;

	pthread_mutex_lock(&port->lock);
	bytes = held(&port->sent);
	for (uint32_t i = 0; i < bytes; i++)
		into[i] = get(&port->sent);
	pthread_mutex_unlock(&port->lock);
	return bytes;
}

/* Bytes that the guest has sent to the outside, ever. */
uint64_t serial_sent(struct serial *port)
{
	uint64_t bytes;

	pthread_mutex_lock(&port->lock);
	bytes = port->sent_ever;
	pthread_mutex_unlock(&port->lock);
	return bytes;
}

/* Registers */

/* Reading it clears an overrun. */
static uint8_t line_status(struct serial *port)
{
	uint8_t value = LSR_IDLE | (held(&port->received) ? LSR_READY : 0) | (port->overrun ? LSR_OVERRUN : 0);

	port->overrun = 0;
	return value;
}

/* While it is looped back DTR, RTS, OUT1 and OUT2 are what DSR, CTS, RI and DCD say. */
static uint8_t modem_status(const struct serial *port)
{
	uint8_t mcr = port->mcr;

	if (!(mcr & MCR_LOOP))
		return MSR_CONNECTED;
	return (mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 4) << 4 | (mcr & 8) << 4;
}

static uint8_t read_register(struct serial *port, uint32_t offset)
{
	switch (offset) {
	case IER:
		return port->ier;
	case IIR:
		return identify(port);
	case LCR:
		return port->lcr;
	case MCR:
		return port->mcr;
	case LSR:
		return line_status(port);
	case MSR:
		return modem_status(port);
	default:
		return port->scr;
	}
}

static int read_locked(struct serial *port, uint32_t offset)
{
	uint8_t value;

	if (offset <= DLM && port->lcr & LCR_DLAB)
		return offset == DLL ? port->dll : port->dlm;
	if (offset != DATA)
		return read_register(port, offset);
	value = next_received(port);
	return value | raised(port);
}

/* What waits may come into the receiver by this, as from outside: SERIAL_RAISE then, or 0. */
static int write_register(struct serial *port, uint32_t offset, uint8_t value)
{
	uint32_t before = port->received.behind;

	if (offset == FCR)
		control_fifos(port, value);
	else if (offset == LCR)
		port->lcr = value;
	else if (offset == MCR)
		port->mcr = value;
	else if (offset == SCR)
		port->scr = value;
	refill(port);
	return port->received.behind == before ? 0 : raised(port);
}

static int write_locked(struct serial *port, uint32_t offset, uint8_t value)
{
	if (offset <= DLM && port->lcr & LCR_DLAB) {
		*(offset == DLL ? &port->dll : &port->dlm) = value;
		return 0;
	}
	if (offset == DATA)
		return send(port, value);
	if (offset != IER)
		return write_register(port, offset, value);
	port->ier = value & IER_BITS;
	port->empty_pending = !!(value & IER_EMPTY);
	return raised(port);
}

/* The register's value, with SERIAL_RAISE beside it or not. */
int serial_read(struct serial *port, uint32_t offset)
{
	int result;

	pthread_mutex_lock(&port->lock);
	result = read_locked(port, offset);
	pthread_mutex_unlock(&port->lock);
	return result;
}

/* SERIAL_RAISE, SERIAL_FULL or 0. */
int serial_write(struct serial *port, uint32_t offset, uint8_t value)
{
	int result;

	pthread_mutex_lock(&port->lock);
	result = write_locked(port, offset, value);
	pthread_mutex_unlock(&port->lock);
	return result;
}
