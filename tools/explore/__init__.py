"""Every interleaving of the code that shares a queue, up to a bound: the native handler, built with scheduling points
in place of its accesses to shared words (points.h), and the Python half, whose accesses go through the same."""
