"""Running VMs, looked at from another process: who they are, what their devices do, rates."""
