/* io_uring's system calls; what linux/io_uring.h of the system may lack (6.5: NO_MMAP) is here. */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SETUP_NO_MMAP (1u << 14)
#define REGISTER_SYNC_CANCEL 24

struct ring_places {
	uint32_t sq_head, sq_tail, sq_flags, cq_head, cq_tail, cqes, sq_entries, cq_entries;
};

/* struct io_uring_params, with the addresses that NO_MMAP takes */
struct sq_offsets { uint32_t head, tail, mask, entries, flags, dropped, array, reserved; uint64_t address; };
struct cq_offsets { uint32_t head, tail, mask, entries, overflow, cqes, flags, reserved; uint64_t address; };
struct setup {
	uint32_t sq_entries, cq_entries, flags, cpu, idle_ms, features, attach_fd, reserved[3];
	struct sq_offsets sq;
	struct cq_offsets cq;
};

/* A ring in memory of the caller's: a page for the rings and one for the entries.  With idle_ms the
 * kernel's thread polls it, the thread of `attach` if that is a ring.  Its descriptor, or -errno. */
static int ring_setup(uint32_t entries, uint64_t rings, uint64_t sqes, uint32_t idle_ms, int attach,
		      struct ring_places *places)
{
	struct setup setup = { .flags = SETUP_NO_MMAP, .sq.address = sqes, .cq.address = rings };
	uint32_t *array, i;
	int fd;

	if (idle_ms) {
		setup.flags |= IORING_SETUP_SQPOLL;
		setup.idle_ms = idle_ms;
	}
	if (attach >= 0) {
		setup.flags |= IORING_SETUP_ATTACH_WQ;
		setup.attach_fd = attach;
	}
	fd = syscall(__NR_io_uring_setup, entries, &setup);
	if (fd < 0)
		return -errno;
	array = (uint32_t *)(rings + setup.sq.array);
	for (i = 0; i < setup.sq_entries; i++)
		array[i] = i;
	*places = (struct ring_places){ setup.sq.head, setup.sq.tail, setup.sq.flags, setup.cq.head,
					setup.cq.tail, setup.cq.cqes, setup.sq_entries, setup.cq_entries };
	return fd;
}

/* What it does I/O on, and what it signals; 0 or -errno. */
static int ring_register(int fd, const int32_t *files, uint32_t count, int eventfd)
{
	if (syscall(__NR_io_uring_register, fd, IORING_REGISTER_FILES, files, count) < 0)
		return -errno;
	return syscall(__NR_io_uring_register, fd, IORING_REGISTER_EVENTFD, &eventfd, 1) < 0 ? -errno : 0;
}

static void ring_unregister(int fd)
{
	syscall(__NR_io_uring_register, fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
	syscall(__NR_io_uring_register, fd, IORING_UNREGISTER_FILES, NULL, 0);
}

/* Submit in place, or wake the polling thread. */
static int ring_enter(int fd, uint32_t submit, int wake)
{
	int got;

	do
		got = syscall(__NR_io_uring_enter, fd, submit, 0, wake ? IORING_ENTER_SQ_WAKEUP : 0, NULL, 0);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* Cancel all that can be; what is running already still completes. */
static int ring_cancel(int fd)
{
	struct { uint64_t addr; int32_t fd; uint32_t flags; int64_t seconds, ns; uint8_t opcode, pad[7]; uint64_t pad2[3]; }
		all = { .flags = 1u << 0 | 1u << 2, .seconds = 0, .ns = 1 };	/* ALL, ANY */

	return syscall(__NR_io_uring_register, fd, REGISTER_SYNC_CANCEL, &all, 1) < 0 ? -errno : 0;
}
