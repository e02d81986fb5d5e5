import threading

import pytest

from vmm.sync.background import Background


def test_outcome_is_waited_for():
    go = threading.Event()
    work = Background(lambda: go.wait(10) and 5, "five")
    go.set()
    assert work.result() == work.result() == 5


def test_error_is_raised_where_the_outcome_is_asked_for():
    def fail():
        raise OSError("no")
    work = Background(fail, "fails")
    with work:
        pass
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            work.result()


def test_block_waits_for_the_end():
    done, go = [], threading.Event()
    with Background(lambda: go.wait(10) and done.append(1), "one"):
        go.set()
    assert done == [1]
