"""What pyproject.toml has no words for: a wheel has what `make parts` builds, and serves every Python from 3.11 on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.build import build


class Parts(Command):
    """All of an installation that is not Python; a checkout has it from `make`."""

    description = "build handlers, guests and extension modules"
    user_options = []
    editable_mode = False

    def initialize_options(self):
        self.build_lib = None

    def finalize_options(self):
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self):
        if self.editable_mode:
            return
        try:
            subprocess.run(["make", "-s", f"-j{len(os.sched_getaffinity(0))}", "parts", f"PY={sys.executable}",
                            f"INTO={self.build_lib}"], check=True)
        except FileNotFoundError:
            sys.exit("splitvmm: not found: make; wanted the Debian package make, or what corresponds to it here")
        except subprocess.CalledProcessError:
            sys.exit("splitvmm: the parts that are not Python could not be built; make has said why above")

    def get_source_files(self):
        return []       # MANIFEST.in has them

    def get_outputs(self):
        return [str(path) for path in Path(self.build_lib, "vmm").rglob("*")
                if path.is_file() and (path.suffix == ".so" or "built" in path.parts)]

    def get_output_mapping(self):
        return {}


class Build(build):
    """Anew each time: what a folder has left of another build would be in the wheel."""

    sub_commands = [*build.sub_commands, ("build_parts", None)]

    def run(self):
        shutil.rmtree(self.build_base, ignore_errors=True)
        super().run()


class Binary(Distribution):
    def has_ext_modules(self):
        return True


setup(distclass=Binary, cmdclass={"build": Build, "build_parts": Parts},
      options={"bdist_wheel": {"py_limited_api": "cp311"}, "build": {"build_base": "build/wheel"}})
