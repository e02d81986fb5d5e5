"""What all virtio devices have in common, and the transports that a driver reaches them by."""
