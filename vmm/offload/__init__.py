"""Devices' kernel halves, put on the exit path and taken off."""
