/* What each device's harness defines: HAS_RINGS, STATE, and these. */
#ifndef SPLITVMM_FUZZ_HOOKS_H
#define SPLITVMM_FUZZ_HOOKS_H

#include "input.h"

struct part;

/* The device as userspace has set it up, and a change that userspace makes while it runs. */
static void device_set_up(const struct setup_record *setup);
static void device_change(const struct record *record);
/* The buffers of a request, what they hold, and how many there are. */
static int device_request(int queue, const struct record *record, struct part *part);
/* Userspace has served a queue: what else it does then. */
static void device_served(int queue);
/* Whether requests may wait though nothing is in flight. */
static int device_may_wait(int queue);
/* A tag whose request is no chain of the driver's. */
static int tag_of_no_chain(const struct tag *tag);
/* An entry for the device's file, of so many bytes: what the device asks for is in bounds. */
static void device_check_entry(const struct sqe *sqe, __u64 bytes);
static unsigned long long image_bytes(void);
static int image_may_change(void);
static int run_collector(int eventfd, int vm_fd, __u32 *upcalls, __u32 *interrupts);

#endif
