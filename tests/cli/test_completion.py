"""Completion scripts: what a shell that has sourced one offers."""

import os
import shutil
import subprocess

import pytest

from tests.cli.started import SPLITVMM
from tests.cli.test_cli import say
from vmm.cli.completion import SHELLS
from vmm.paths import ROOT

# words... -> what bash offers for the last of them, by the function that the script registered
OFFERED = """
set -eu
source "$SCRIPT"
read -ra how < <(complete -p splitvmm)
set +eu
for i in "${!how[@]}"; do [ "${how[i]}" = -F ] && function=${how[i + 1]}; done
COMP_WORDS=(splitvmm "$@") COMP_CWORD=$#
$function splitvmm "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "splitvmm"
    path.write_bytes(subprocess.run([SPLITVMM, "completion", "bash"], capture_output=True, check=True).stdout)
    return path


@pytest.mark.parametrize("words, offers", [
    (["ru"], ["run"]), (["-v", "ru"], ["run"]), (["--log-level", "info", "ru"], ["run"]),
    (["run", "--ker"], ["--kernel"]), (["run", "--kernel", "READ"], ["README.md"]), (["run", "READ"], ["README.md"]),
    (["run", "--stats", "READ"], ["README.md"]), (["run", "-v", "--disk", "READ"], ["README.md"]),
    (["run", "--log-level", "w"], ["warning"]), (["bench", "blk", "--directory", "kernel_"], ["kernel_devices"]),
    (["bench", "li"], ["linux"]), (["compile", "-o", "READ"], ["README.md"]), (["completion", ""], [*SHELLS])])
def test_bash_offers(script, words, offers):
    done = subprocess.run(["bash", "--norc", "-c", OFFERED, "bash", *words], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "SCRIPT": str(script)})
    assert (done.stdout.split(), done.stderr) == (offers, "")


@pytest.mark.parametrize("shell, check", [("zsh", ["zsh", "-fn"]), ("tcsh", ["tcsh", "-fn"])])
def test_other_shells(capsys, tmp_path, shell, check):
    status, out, err = say(capsys, "completion", shell)
    assert status == 0 and err == "" and "splitvmm" in out and "log-level" in out
    if shutil.which(shell):
        (tmp_path / "script").write_text(out)
        subprocess.run([*check, tmp_path / "script"], check=True)
