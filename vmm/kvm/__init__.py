"""KVM and the machine around a CPU: VM, vCPUs, interrupts, buses, guest memory, BPF maps and programs."""
