"""Do the checks find faults?  Each of faults.py is put into a copy of both halves, alone."""
