"""Blocks that no signal's handler interrupts, and signals that end a program once."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from vmm.sync.signals import uninterrupted


@pytest.fixture(autouse=True)
def _sigint_raises():
    """As in a process that nobody has told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_waits_for_the_end_of_the_block():
    """And threads that are joined there have ended: none is marked so while it runs."""
    done, go = [], threading.Event()

    def work():
        go.wait()
        done.append("worked")
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        thread = threading.Thread(target=work)
        thread.start()
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        threading.Timer(0.3, go.set).start()
        thread.join()
        done.append("joined")
    assert done == ["worked", "joined"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_blocks_inside_each_other():
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
        done.append("outer")
    assert done == ["outer"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_one_ends_it(number):
    code = f"""
        import signal
        from vmm.sync.signals import ending_once
        with ending_once():
            try:
                signal.raise_signal({int(number)})
            finally:
                for each in (signal.SIGTERM, signal.SIGINT):
                    signal.raise_signal(each)
                print("cleared up")
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "cleared up\n", "")


def test_in_the_midst_of_a_class_that_is_made():
    """Python before 3.12 makes a RuntimeError of what a __set_name__ raises."""
    code = """
        import signal
        from vmm.sync.signals import ending_once

        class Named:
            def __set_name__(self, owner, name):
                signal.raise_signal(signal.SIGTERM)
        with ending_once():
            class Made:
                field = Named()
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")


def test_as_a_folder_is_removed(tmp_path):
    """Nothing of it is left."""
    code = f"""
        import os, shutil, signal
        from vmm.sync.signals import ending_once, temporary_folder
        unlink = os.unlink

        def first(*arguments, **options):
            os.unlink = unlink
            signal.raise_signal(signal.SIGTERM)
            return unlink(*arguments, **options)
        with ending_once(), temporary_folder("folder-", {str(tmp_path)!r}) as folder:
            for name in "ab":
                open(os.path.join(folder, name), "w").close()
            os.unlink = first
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (128 + signal.SIGTERM, "", [])
