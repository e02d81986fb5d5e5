"""The page for authors of devices is what docstrings and headers say, and has what the tutorials use."""

import re

import pytest

from tools import reference
from vmm.paths import ROOT


def test_up_to_date():
    assert reference.PAGE.read_text() == reference.page()


@pytest.mark.parametrize("source", sorted((ROOT / "examples").glob("*/*.c"), key=str), ids=lambda path: path.name)
def test_it_has_what_examples_call(source):
    """Functions of the framework that an example's handler calls."""
    if source.name == "guest.c":
        pytest.skip("no handler")
    text, page = source.read_text(), reference.page()
    own = set(re.findall(r"^static \w+ \*?(\w+)\(", text, re.MULTILINE)) | {"if", "while", "for", "sizeof"}
    # what the headers' first comments name is told there
    called = set(re.findall(r"\b([A-Za-z_]\w+)\(", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))) - own
    assert called and not [name for name in called if not re.search(rf"\b{name}\b", page)]


def test_what_the_headers_lack_is_told():
    with pytest.raises(LookupError, match="no nothing in the headers"):
        reference.c_entry((reference.HEADERS / "walk.h").read_text(), "nothing")
