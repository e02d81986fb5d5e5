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
    ("", "wanted key=value"), ("path", "wanted key=value"), ("offload=on", "wanted path=FILE"),
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
