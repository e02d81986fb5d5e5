/* Partial emulation: after an exit, a vCPU of KVM's runs on in an emulator for some basic blocks, and is KVM's again. */
#include "emulator.h"

enum { PARTIAL_SPOTS = 1024, PARTIAL_HOT = 16, PARTIAL_SOON = 8, PARTIAL_TRIAL = 8, PARTIAL_SKIP = 64,
       PARTIAL_MOST_SKIP = 1 << 16 };

/* An instruction of the guest's that exits, and whether it pays to run on behind it. */
struct partial_spot {
	uint64_t rip;
	uint64_t kvm_ticks;		/* least that a KVM_RUN which ended here took */
	uint64_t next_ticks;		/* what the one after it takes, of late */
	uint64_t exits, runs, spared, ticks;	/* of all: exits here, runs from here, what those spared, and took */
	uint32_t tried, tried_spared;	/* since it was last decided */
	uint64_t tried_ticks;
	uint32_t skip, next_skip;	/* exits that are yet to be left alone; how many after the next failure */
};

struct partial {
	struct emulator *emulator;
	uint64_t blocks;		/* after each exit; 0: as it pays */
	uint64_t most_blocks, idle_blocks;	/* where it pays: in all, and in a row without an access */
	struct partial_spot spots[PARTIAL_SPOTS], *last;	/* the last exit's */
	uint64_t least_ticks;		/* that any KVM_RUN took */
	uint64_t runs, spared, ran, refused, midway;	/* exits run on from; accesses and blocks then; not begun; by KVM */
	uint64_t why[EMULATOR_REFUSED + 1];
	int failed;			/* a callback did: no run any more */
};

int partial_after(struct vcpu_loop *loop, void *partial);
