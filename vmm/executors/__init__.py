"""What runs a vCPU: KVM, or an emulator.  Its state (vmm/devmodel/vcpu.py) moves between them; transfer.py says how."""
