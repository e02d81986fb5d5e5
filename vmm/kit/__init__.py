"""Devices of one's own: a new one's files, building, loading, describing and testing it."""
