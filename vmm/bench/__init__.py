"""Benchmarks: exits, disks, networks, Linux guests."""
