"""A third opinion: QEMU's device of the same kind does the same steps, and what a driver can see of it has to be equal.

No guest and no KVM is needed: registers and interrupts are reached by QEMU's qtest protocol (qtest.py, process.py,
windows.py), and its RAM is ours.  The guest of a strategy is the same as ours (guest.py), but for one thing: QEMU does
requests beside each other, so each is shown to it when the one before it is done (rings.py).  What is compared,
compare.py says; where the two are known to differ, and who is right, known.py.
"""
