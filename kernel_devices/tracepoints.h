/* What KVM's tracepoints pass, of which their programs look at writes alone (arch/x86/kvm/trace.h). */
#ifndef SPLITVMM_TRACEPOINTS_H
#define SPLITVMM_TRACEPOINTS_H

enum { TRACE_WRITE = 2 };	/* kvm_mmio: type (KVM_TRACE_MMIO_WRITE), len, gpa, val */
enum { PIO_OUT = 1 };		/* kvm_pio: rw (KVM_PIO_OUT), port, size, count, data */

#endif
