"""Each function that only the BPF build has is run by a test that says so: `@pytest.mark.bpf_paths("decline", ...)`.
`python -m pytest -m bpf_paths` runs them; nested machines do on the kernels that Debian has."""

import re

from vmm.paths import ROOT

SOURCES = ROOT / "kernel_devices"
BPF_ONLY = ("exit_path.bpf.c", "platform_bpf.h", "decline_bpf.h")
SECTION = re.compile(r"^#ifdef __bpf__\n(.*?)^#(?:else|endif)", re.MULTILINE | re.DOTALL)
ASIDE = re.compile(r"__attribute__\(\(\w+\)\)|/\*.*?\*/", re.DOTALL)
FUNCTION = re.compile(r'^\s*(?:static|__apart|SEC\("[^"]+"\))[\s\w*]*?\b(\w+)\([^;{]*?\)[\s\\]*\{(.*)', re.MULTILINE)
MACRO = re.compile(r"^#define (\w+)\([^)]*\)\s*\\\n\s*do \{", re.MULTILINE)
EMPTY = {"uring_signal", "lock_wait"}       # nothing to be done where the kernel half runs


def only_bpf() -> set[str]:
    """Functions, and macros that are as long as one."""
    found = set()
    for path in sorted(SOURCES.rglob("*.[ch]")):
        text = path.read_text()
        for part in [text] if path.name in BPF_ONLY else SECTION.findall(text):
            part = ASIDE.sub("", part)
            found |= {name for name, _ in FUNCTION.findall(part)} | set(MACRO.findall(part))
    return found


def named() -> set[str]:
    """By tests."""
    marks = "".join(re.findall(r"^@(?:runs|pytest\.mark\.bpf_paths)\(([^)]*)\)", "\n".join(
        path.read_text() for path in (ROOT / "tests").rglob("test_*.py")), re.MULTILINE))
    return set(re.findall(r'"(\w+)"', marks))


def test_each_is_named():
    assert {"decline_one", "decline", "trace", "record_event", "device_collect", "serve_next_apart"} <= only_bpf()
    assert only_bpf() - EMPTY - named() == set()


def test_none_is_named_that_is_gone():
    assert named() - only_bpf() == set()
