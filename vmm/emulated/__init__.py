"""A VM without /dev/kvm: vCPUs that an emulator runs (vmm/executors/), and chips in userspace (vmm/chips/)."""
