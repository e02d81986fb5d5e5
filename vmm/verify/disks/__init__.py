"""Images of disks that are compared: sound ones, and such as fail where a rule says so (faulty.py, server.py)."""
