"""KVM against the emulator, instruction by instruction: the same instruction from the same state on both, and what
becomes of registers, flags and memory compared."""
