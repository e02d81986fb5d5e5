"""A VGA with the VBE registers of Bochs's: what a BIOS, a boot loader or a driver draws on, and how it is seen."""
