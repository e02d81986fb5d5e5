/* What benchmarks want of the host's kernel: packets for a guest, from the host's own stack, namespaces and loop devices
 * that nobody else sees, and children that do not outlive them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/loop.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 64 };

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Send datagrams on a connected socket, each when the one before has come back; `took` holds the
 * nanoseconds of each.  How many came back before one did not. */
static uint32_t udp_round_trips(int fd, const void *data, uint32_t bytes, uint32_t count, uint64_t *took)
{
	char back[65536];

	for (uint32_t i = 0; i < count; i++) {
		uint64_t before = clock_ns();

		if (send(fd, data, bytes, 0) != bytes || recv(fd, back, sizeof(back), 0) < 0)
			return i;
		took[i] = clock_ns() - before;
	}
	return count;
}

/* A packet socket on an interface, for frames behind a virtio-net header; its descriptor or -errno. */
static int packet_socket(const char *interface)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1;
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(interface) };

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

/* Send the same frame again and again, until `stop`.  How often it was taken.  On the last
 * CPU alone, so that guest and device have the others to themselves. */
static uint64_t packet_flood(int fd, void *frame, uint32_t bytes, volatile uint32_t *stop)
{
	struct mmsghdr messages[BURST] = { 0 };
	struct iovec part = { frame, bytes };
	uint64_t sent = 0;
	cpu_set_t last;

	CPU_ZERO(&last);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
	sched_setaffinity(0, sizeof(last), &last);

	for (int i = 0; i < BURST; i++) {
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (!*stop) {
		int got = sendmmsg(fd, messages, BURST, 0);

		if (got > 0)
			sent += got;
	}
	return sent;
}

/* A network namespace of this process's own, from here on; 0 or -errno. */
static int new_network(void)
{
	return unshare(CLONE_NEWNET) < 0 ? -errno : 0;
}

/* A mount namespace of this thread's own, none of whose mounts reach another one; 0 or -errno. */
static int new_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return 0;
}

/* A loop device on a file, which is gone when nobody has it open any more (LO_FLAGS_AUTOCLEAR): its descriptor or
 * -errno, and its number. */
static int new_loop(int file, int *number)
{
	struct loop_config config = { .fd = file, .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd = -1, error;
	char path[32];

	if (control < 0)
		return -errno;
	do {	/* another process may be given the same one, and be first */
		if (fd >= 0)
			close(fd);
		*number = ioctl(control, LOOP_CTL_GET_FREE);
		snprintf(path, sizeof(path), "/dev/loop%d", *number);
		fd = *number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
		error = fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) < 0 ? errno : 0;
	} while (fd >= 0 && error == EBUSY);
	close(control);
	if (error && fd >= 0)
		close(fd);
	return error ? -error : fd;
}

/* For a child between fork(2) and execve(2): it is killed with the thread that has forked it, at once if that is no
 * more. */
static void end_with_parent(int parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}
