/* A vCPU of KVM's is given the declared state, and it is taken: by tables of what is where (vmm/executors/kvm_tables.py).
 * All return a request's result, or -errno. */
#include "kvm_state.h"
#include "vcpu_state.gen.h"
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#define X87_AND_SSE 3u

static int call(int vcpu, unsigned long request, void *argument)
{
	int result = ioctl(vcpu, request, argument);

	return result < 0 ? -errno : result;
}

static uint64_t word(const uint8_t *at, uint32_t bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return value;
}

static void put(uint8_t *at, uint32_t bytes, uint64_t value)
{
	memcpy(at, &value, bytes);
}

/* The state is all zeroes where it has what KVM has not. */
int kvm_part_take(int vcpu, const struct kvm_part *part, struct vcpu_state *state)
{
	int result = call(vcpu, part->get, part->argument);

	for (uint32_t i = 0; result >= 0 && i < part->count; i++) {
		const struct kvm_field *field = &part->fields[i];
		uint8_t *ours = (uint8_t *)state + field->ours;
		const uint8_t *theirs = part->data + field->theirs;

		if (field->our_bytes > sizeof(uint64_t))
			memcpy(ours, theirs, field->our_bytes);
		else
			put(ours, field->our_bytes, word(ours, field->our_bytes) |
			    (word(theirs, field->their_bytes) & field->mask) << field->low);
	}
	return result;
}

int kvm_part_give(int vcpu, const struct kvm_part *part, const struct vcpu_state *state)
{
	memcpy(part->data, part->initial, part->bytes);
	for (uint32_t i = 0; i < part->count; i++) {
		const struct kvm_field *field = &part->fields[i];
		const uint8_t *ours = (const uint8_t *)state + field->ours;
		uint8_t *theirs = part->data + field->theirs;

		if (field->our_bytes > sizeof(uint64_t))
			memcpy(theirs, ours, field->our_bytes);
		else
			put(theirs, field->their_bytes, word(ours, field->our_bytes) >> field->low & field->mask);
	}
	return call(vcpu, part->set, part->argument);
}

static const struct kvm_msr_place *place_of(const struct kvm_msr_plan *plan, uint32_t index)
{
	for (uint32_t i = 0; i < plan->count; i++)
		if (plan->named[i].index == index)
			return &plan->named[i];
	return NULL;
}

/* As many as `has` has, or less where one of them is not there. */
int kvm_msrs_take(int vcpu, const struct kvm_msr_plan *plan, struct vcpu_state *state)
{
	int got = call(vcpu, KVM_GET_MSRS, plan->has);

	for (int i = 0; i < got; i++) {
		const struct kvm_msr_entry *entry = &plan->has->entries[i];
		const struct kvm_msr_place *place = place_of(plan, entry->index);

		if (place)
			put((uint8_t *)state + place->at, sizeof(uint64_t), entry->data);
		else
			state->msrs.others[state->msrs.count++] = (struct other_msr){ entry->index, 0, entry->data };
	}
	return got;
}

/* Of those that the vCPU has not: 0. */
static uint64_t value_of(const struct kvm_msrs *msrs, uint32_t index)
{
	for (uint32_t i = 0; i < msrs->nmsrs; i++)
		if (msrs->entries[i].index == index)
			return msrs->entries[i].data;
	return 0;
}

static void want(const struct kvm_msr_plan *plan, uint32_t index, uint64_t value)
{
	if (value_of(plan->has, index) != value)
		plan->set->entries[plan->set->nmsrs++] = (struct kvm_msr_entry){ .index = index, .data = value };
}

/* Those that differ from what the vCPU has, as some can be read and not written.  1, or which of them is `refused`. */
int kvm_msrs_give(int vcpu, const struct kvm_msr_plan *plan, const struct vcpu_state *state, uint32_t *refused)
{
	int result = call(vcpu, KVM_GET_MSRS, plan->has);

	*refused = 0;
	if (result != (int)plan->has->nmsrs)
		return result < 0 ? result : -ENOENT;
	plan->set->nmsrs = 0;
	for (uint32_t i = 0; i < plan->count; i++)
		want(plan, plan->named[i].index, word((const uint8_t *)state + plan->named[i].at, sizeof(uint64_t)));
	for (uint32_t i = 0; plan->others && i < state->msrs.count; i++)
		want(plan, state->msrs.others[i].index, state->msrs.others[i].value);
	if (!plan->set->nmsrs)
		return 1;
	result = call(vcpu, KVM_SET_MSRS, plan->set);
	if (result == (int)plan->set->nmsrs)
		return 1;
	*refused = plan->set->entries[result < 0 ? 0 : result].index;
	return result < 0 ? result : 0;
}

static bool all_zero(const uint8_t *at, uint32_t bytes)
{
	return !bytes || (!at[0] && !memcmp(at, at + 1, bytes - 1));
}

/* A component in its initial state may be said to be in use, or not, as the CPU likes (SDM 1, 13.6): here x87 and SSE
 * always are, and others where they are not all zeroes.  KVM writes the initial state of those that are not. */
void kvm_tell_initial(struct vcpu_state *state, const struct kvm_component *components, uint32_t count)
{
	struct xsave *xsave = &state->xsave;

	xsave->xstate_bv |= X87_AND_SSE;
	for (uint32_t i = 0; i < count; i++)
		if (all_zero((const uint8_t *)xsave + components[i].at, components[i].bytes))
			xsave->xstate_bv &= ~(1ull << components[i].bit);
}
