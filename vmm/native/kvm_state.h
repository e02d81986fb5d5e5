/* A vCPU of KVM's and the declared state (vmm/devmodel/vcpu.py): given and taken by tables, which
 * vmm/executors/kvm_tables.py makes of the names of fields. */
#include <stdint.h>

struct kvm_msrs;
struct vcpu_state;
struct xsave;

/* A field of the state, or bits of one, and the field of a struct of KVM's that has the same. */
struct kvm_field {
	uint32_t ours, theirs;			/* offsets, in bytes */
	uint32_t our_bytes, their_bytes;	/* a word, or as many on both sides */
	uint32_t low;				/* the lowest of our bits */
	uint64_t mask;				/* of theirs */
};

/* What one request of KVM's gets and another one sets. */
struct kvm_part {
	unsigned long get, set;
	void *argument;			/* the requests' */
	uint8_t *data;			/* that, or what it points to */
	const uint8_t *initial;		/* what is given where no field is */
	uint32_t bytes, count;		/* of data; of fields */
	const struct kvm_field *fields;
};

struct kvm_msr_place {
	uint32_t index, at;		/* its number, and where its value is in the state */
};

/* `has` is asked for; `named` are wanted as the state has them, and the state's others if `others`. */
struct kvm_msr_plan {
	struct kvm_msrs *has, *set;
	const struct kvm_msr_place *named;
	uint32_t count, others;
};

/* A component of the XSAVE area (SDM 2, CPUID leaf 0xd). */
struct kvm_component {
	uint32_t bit, at, bytes;
};

int kvm_part_take(int vcpu, const struct kvm_part *part, struct vcpu_state *state);
int kvm_part_give(int vcpu, const struct kvm_part *part, const struct vcpu_state *state);
int kvm_msrs_take(int vcpu, const struct kvm_msr_plan *plan, struct vcpu_state *state);
int kvm_msrs_give(int vcpu, const struct kvm_msr_plan *plan, const struct vcpu_state *state, uint32_t *refused);
void kvm_tell_initial(struct vcpu_state *state, const struct kvm_component *components, uint32_t count);
