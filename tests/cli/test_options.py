"""Command-line values."""

import pytest

from vmm.cli import options
from vmm.errors import UserError


@pytest.mark.parametrize("text, bytes_", [("1M", 1 << 20), ("4G", 4 << 30), ("512k", 512 << 10), ("4096", 4096)])
def test_sizes(text, bytes_):
    assert options.size(text, "--mem") == bytes_


@pytest.mark.parametrize("text", ["", "M", "1T", "-1", "1.5G", "0x10M"])
def test_sizes_that_are_none(text):
    with pytest.raises(UserError, match="wanted a size like"):
        options.size(text, "--mem")


@pytest.mark.parametrize("text, says", [
    ("", "wanted key=value"), ("path=a,b", "wanted key=value"), ("offload=on", "wanted path=FILE"),
    ("a,b", "wanted key=value"), ("a,path=b", "path given twice"), ("path=,readonly=on", "wanted path=FILE"),
    ("path=a,path=b", "path given twice"), ("path=a,offlod=on", "unknown key 'offlod'"),
    ("path=a,offload=yes", "wanted on, host, off or auto"), ("path=a,queues=17", "from 1 to 16"),
    ("path=a,queue_size=3", "power of two"), ("path=a,readonly=1", "wanted on or off"),
])
def test_disk_options_that_are_wrong(text, says):
    with pytest.raises(UserError, match=says):
        options.disk(text)


def test_disk_options():
    disk = options.disk("path=a,,b=c,offload=host,readonly=on,queues=4,serial=x")
    assert (str(disk.path), disk.offload, disk.read_only, disk.queues, disk.serial) == ("a,b=c", "host", True, 4, "x")


@pytest.mark.parametrize("text, path", [("disk.img", "disk.img"), ("a,,b,readonly=on", "a,b"), ("path=a=b", "a=b"),
                                        ("./x,offload=off", "x")])
def test_a_disk_is_its_path(text, path):
    assert str(options.disk(text).path) == path


def test_commas_that_belong_to_a_path():
    assert options.where("file=a,,b", "--serial") == "file=a,b"
    console = options.console("file=a,,b,offload=host")
    assert (console.where, console.offload) == ("file=a,b", "host")
    with pytest.raises(UserError, match="the comma twice"):
        options.where("file=a,b", "--serial")


def test_cards_have_addresses_of_their_own():
    """Unicast and locally administered; a machine that is built again has the same."""
    cards = [options.net("tap=a") for _ in range(8)]
    assert len({card.mac for card in cards}) == 8
    assert all(len(card.mac) == 6 and card.mac[0] & 3 == 2 for card in cards)
    assert options.net("tap=a,mac=02:00:00:00:00:01").mac == b"\2\0\0\0\0\1"
