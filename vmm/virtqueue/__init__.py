"""Virtqueues, user side: split and packed rings, and a queue's io_uring."""
