/* Devices whose requests have nothing to do with each other: none waits for another, and each is one chain. */
#ifndef SPLITVMM_FUZZ_APART_H
#define SPLITVMM_FUZZ_APART_H

static int device_may_wait(int queue)
{
	(void)queue;
	return 0;
}

static int tag_of_no_chain(const struct tag *tag)
{
	(void)tag;
	return 0;
}

#endif
