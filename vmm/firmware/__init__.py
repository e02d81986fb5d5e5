"""What a BIOS is and finds: its ROM, fw_cfg, the CMOS, a keyboard controller, and where it writes its log."""
