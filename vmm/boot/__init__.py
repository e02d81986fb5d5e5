"""What a guest finds when it starts: its kernel, ACPI tables, ports to end by."""
