/* Several devices at once, each with many requests in flight, driven by interrupts alone: a lost one
 * leaves the guest halted for ever.
 *
 *   depth=N steps=N   of each disk: requests in flight, and how many each of those slots does
 *   frames=N bytes=N  through a network card and a console, whose peers send back what they get
 *   command=ADDRESS   guest-physical, of a word by which the host asks for a RESTART of the disks, and
 *                     the FINISH; until then disks go on
 */
#include "many.h"

u64 depth, steps, frames, bytes;
volatile u32 *command;
static struct device devices[WORKERS];
static struct worker workers[WORKERS];
static int count;

static void on_interrupt_of(void *of)
{
	struct source *source = of;
	struct worker *worker = source->worker;
	int any = 0;
	u32 token, length;

	worker->device->transport->acknowledge(worker->device);
	worker->interrupts++;
	for (u16 i = source->first; i < source->first + source->count; i++) {
		struct queue *queue = &worker->queues[i];

		do
			while (queue_take(queue, &token, &length))
				worker->kind->used(worker, queue, token, length), any = 1;
		while (queue_listen(queue));
	}
	worker->empty += !any;
	for (u16 i = 0; i < worker->kind->queues; i++)
		queue_notify(&worker->queues[i]);
}

/* By PCI each queue has a vector of its own, by MMIO they share one. */
static void route(struct worker *worker)
{
	int shared = worker->device->transport == &virtio_mmio;

	for (u16 i = 0; i < (shared ? 1 : worker->kind->queues); i++) {
		u8 vector = FIRST_VECTOR + QUEUES * worker->number + i;

		worker->sources[i] = (struct source){ worker, i, shared ? worker->kind->queues : 1 };
		interrupt_handle(vector, on_interrupt_of, &worker->sources[i]);
		worker->device->transport->route(worker->device, i, vector, 0);
	}
}

static void start(struct worker *worker)
{
	device_start(worker->device, worker->kind->features | features_asked());
	worker->in_flight = 0;
	for (u16 i = 0; i < worker->kind->queues; i++)
		queue_start(worker->device, &worker->queues[i], i, area(worker, AREA_RINGS + i * QUEUE_BYTES));
	route(worker);
	device_ready(worker->device);
	for (u16 i = 0; i < worker->kind->queues; i++)
		queue_listen(&worker->queues[i]);
	worker->kind->begin(worker);
	for (u16 i = 0; i < worker->kind->queues; i++)
		queue_notify(&worker->queues[i]);
}

static const struct kind *kind_of(u32 id)
{
	switch (id) {
	case ID_NET:
		return &card_kind;
	case ID_BLK:
		return &disk_kind;
	case ID_CONSOLE:
		return &console_kind;
	case ID_RNG:
		return &rng_kind;
	}
	fail("device of a kind without a worker", id, ID_BLK);
}

static int all_through(void)
{
	for (int i = 0; i < count; i++)
		if (workers[i].in_flight)
			return 0;
	return 1;
}

static void restart_disks(void)
{
	for (int i = 0; i < count; i++)
		if (workers[i].kind == &disk_kind)
			start(&workers[i]);
	*command = GO_ON;
	print("many: restarted\n");
}

/* Where the host may ask for something, no HLT, and long enough for hosts that look for interrupts
 * only now and then. */
static void wait(void)
{
	if (!command) {
		wait_for_interrupt();
		return;
	}
	__asm__ volatile("sti");
	for (int i = 0; i < 4096 && *command != RESTART; i++)
		;
	__asm__ volatile("cli");
	if (*command == RESTART)
		restart_disks();
}

static void report(struct worker *worker)
{
	print("many: ");
	print(worker->kind->name);
	print(" sent=");
	print_number(worker->sent);
	print(" received=");
	print_number(worker->received);
	print(" interrupts=");
	print_number(worker->interrupts);
	print(" empty=");
	print_number(worker->empty);
	print("\n");
}

int run(void)
{
	depth = option("depth", 16);
	steps = option("steps", 12);
	frames = option("frames", 100);
	bytes = option("bytes", 4096);
	command = (volatile u32 *)option("command", 0);
	count = find_devices(devices, WORKERS);
	for (int i = 0; i < count; i++) {
		workers[i].device = &devices[i];
		workers[i].number = i;
		workers[i].kind = kind_of(devices[i].id);
		start(&workers[i]);
	}
	print("many: started\n");
	while (!all_through())
		wait();
	for (int i = 0; i < count; i++)
		report(&workers[i]);
	print("many: passed\n");
	return 0;
}
