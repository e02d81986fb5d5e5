"""What both halves of a device share: memory, who holds a queue, hand-over, snapshots, reading it as it moves."""
