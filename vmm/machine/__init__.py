"""A whole VM: building it, running it, switching its offload."""
