"""The thread that polls rings has a CPU where no vCPU runs."""

import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests import waiting
from vmm.devmodel.uring import STRIDE
from vmm.machine import apart
from vmm.machine.apart import Apart
from vmm.sync.region import Region
from vmm.virtqueue.uring import Uring

wait_for = partial(waiting.wait_for, timeout_s=20)
CPUS = sorted(os.sched_getaffinity(0))

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="one CPU only")


@contextmanager
def spinning(cpu):
    """A process on that CPU, in a vCPU's place; its id."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as it:
        os.sched_setaffinity(it.pid, {cpu})
        try:
            yield it.pid
        finally:
            it.kill()


@pytest.fixture
def polling(ring, monkeypatch):
    """A thread that polls a ring; with processes for vCPUs, any task's state is to be seen."""
    region, fd = Region.anonymous("try", STRIDE), os.eventfd(0, os.EFD_CLOEXEC)
    uring = Uring("try", region.address, 0, lambda: True)
    before = set(apart._polling_threads())
    uring.start([fd], fd, True)
    wait_for(lambda: set(apart._polling_threads()) - before)     # it names itself
    thread, = set(apart._polling_threads()) - before
    monkeypatch.setattr(apart, "_polling_threads", lambda: [thread])
    monkeypatch.setattr(apart, "TASKS", Path("/proc"))
    monkeypatch.setattr(apart, "_runs_on", partial(_awake, apart._runs_on, thread))
    yield thread
    uring.close()
    region.close()
    os.close(fd)


def _awake(runs_on, polling, thread):
    """The ring has nothing to do, but let it seem so."""
    return 0 if thread == polling else runs_on(thread)


def runs_on(cpu, vcpu):
    return apart._runs_on(vcpu) == cpu


@pytest.mark.parametrize("cpu", CPUS[:2])
def test_it_is_kept_off(polling, cpu):
    with spinning(cpu) as vcpu:
        wait_for(lambda: runs_on(cpu, vcpu))
        Apart().look([vcpu])
        assert os.sched_getaffinity(polling) == set(CPUS) - {cpu}


def test_it_follows(polling):
    keeping = Apart()
    for cpu in CPUS[:2] * 2:
        with spinning(cpu) as vcpu:
            wait_for(lambda vcpu=vcpu, cpu=cpu: runs_on(cpu, vcpu))
            keeping.look([vcpu])
            assert cpu not in os.sched_getaffinity(polling)


def test_none_is_left(polling):
    """vCPUs on all CPUs, or none that runs: it may be anywhere."""
    keeping = Apart()
    with spinning(CPUS[0]) as one:
        wait_for(lambda: runs_on(CPUS[0], one))
        keeping.look([one])
        keeping.look([])
        assert os.sched_getaffinity(polling) == set(CPUS)
    with subprocess.Popen(["sleep", "100"]) as asleep:
        wait_for(lambda: apart._runs_on(asleep.pid) is None)
        keeping.look([asleep.pid])
        assert os.sched_getaffinity(polling) == set(CPUS)
        asleep.kill()


def test_what_somebody_else_gave_it(polling):
    """Stays as it is."""
    keeping = Apart()
    keeping.look([])
    os.sched_setaffinity(polling, {CPUS[0]})
    with spinning(CPUS[0]) as vcpu:
        wait_for(lambda: runs_on(CPUS[0], vcpu))
        keeping.look([vcpu])
        assert os.sched_getaffinity(polling) == {CPUS[0]}


def test_a_thread_that_is_gone(monkeypatch):
    """Another one is looked for the next time."""
    monkeypatch.setattr(apart, "_runs_on", lambda thread: CPUS[0])
    monkeypatch.setattr(apart, "TASKS", Path("/proc"))
    with spinning(CPUS[0]) as gone:
        monkeypatch.setattr(apart, "_polling_threads", lambda: [gone])
        keeping = Apart()
        os.sched_setaffinity(gone, CPUS)
        keeping.look([])
    keeping.look([0])
    monkeypatch.setattr(apart, "_polling_threads", list)
    keeping.look([0])
    assert not keeping._given


def test_a_thread_that_ends_when_it_is_found(monkeypatch):
    """Rings are closed while others look."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    monkeypatch.setattr(apart, "_polling_threads", lambda: [ended.pid])
    keeping = Apart()
    keeping.look([])
    assert not keeping._given


def test_rings_that_are_made_again(polling, monkeypatch):
    """Their thread is another one, though the one before was asleep when it ended."""
    keeping = Apart()
    with subprocess.Popen(["sleep", "100"]) as before:
        with monkeypatch.context() as patched:
            patched.setattr(apart, "_polling_threads", lambda: [before.pid])
            keeping.look([])
        before.kill()
    keeping.look([])
    assert keeping._given.keys() == {polling}
