"""Generated states of a vCPU, given to KVM and to the emulator and taken again."""
