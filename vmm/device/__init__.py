"""A device as the machine sees it: register page, shared state, who takes a write."""
