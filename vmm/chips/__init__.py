"""A PC's interrupt controllers and timers in userspace, for vCPUs that are not KVM's; `chipset.py` has them all."""
