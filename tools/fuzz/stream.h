/* Devices that read and write streams: there is no image, and a ring for each. */
#ifndef SPLITVMM_FUZZ_STREAM_H
#define SPLITVMM_FUZZ_STREAM_H

static unsigned long long image_bytes(void)
{
	return 0;
}

static int image_may_change(void)
{
	return 0;
}

static int run_collector(int eventfd, int vm_fd, __u32 *upcalls, __u32 *interrupts)
{
	return device_collect(world.device, eventfd, vm_fd, upcalls, interrupts);
}

#endif
