"""Recordings of what devices did: read, filtered, printed, summed up and drawn.  docs/recording.md has the format."""
