"""Devices and transports, declared; one file each."""
