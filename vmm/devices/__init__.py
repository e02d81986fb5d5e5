"""The user half of each device, and what it is plugged into: images, TAPs, terminals."""
