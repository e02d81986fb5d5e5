"""PCI configuration space, and MSI-X."""
