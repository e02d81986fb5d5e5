/* Probe: the least that a handler can do.  See vmm/devmodel/devices/probe.py. */
#include "probe.gen.h"
#include "../device.h"

static __u32 take(struct probe *probe, __u32 value)
{
	return DONE;
}

static __u32 refuse(struct probe *probe, __u32 value)
{
	return PROBE_DECLINE_ASKED;
}

DEVICE(ON(PROBE_HANDLED, take) ON(PROBE_DECLINED, refuse))
