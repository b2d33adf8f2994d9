"""Builds the native engine and the resampler, plain shared libraries for each instruction set, and the entropy coder.

Without a C++ compiler the package installs without them, and runs through PyTorch and NumPy. Everything else about the
package is in pyproject.toml.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

HEADERS = sorted(map(str, Path("native").glob("*.h")))
FLAGS = [
    "-std=c++17",
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-fvisibility=hidden",
    "-pthread",
    "-shared",
]
TARGET_FLAGS = {"generic": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    TARGET_FLAGS["avx2"] = ["-mavx2", "-mfma"]
    TARGET_FLAGS["avx512"] = [
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mfma",
        "-mprefer-vector-width=512",
    ]


class BuildLibraries(build_ext):
    """Not Python modules: no ABI tag in their names, and loaded with ctypes (engine/native/library.py)."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = True

    def build_extension(self, ext: Extension) -> None:
        path = Path(self.get_ext_fullpath(ext.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [*compiler(), *FLAGS, *ext.extra_compile_args, *ext.sources]
        try:
            subprocess.run([*command, "-o", str(path)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"dacodec: {path.stem} is left out ({error}).", file=sys.stderr)
            print(
                "dacodec: coding will run through PyTorch and NumPy, several times slower.", file=sys.stderr
            )

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", os.sep) + ".so"


class AnyPython(bdist_wheel):
    """The libraries depend on the platform, but on no version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def compiler() -> list[str]:
    """GCC or Clang: the source uses their vector types."""
    if named := os.environ.get("CXX"):
        return named.split()
    return [next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), "c++")]


setup(
    ext_modules=[
        *[
            Extension(
                f"dacodec.engine._native_{target}",
                ["native/dacodec.cpp"],
                depends=HEADERS,
                optional=True,
                extra_compile_args=[*flags, f'-DDAC_TARGET="{target}"'],
            )
            for target, flags in TARGET_FLAGS.items()
        ],
        *[
            Extension(
                f"dacodec.audio._resample_{target}",
                ["native/resample.cpp"],
                depends=HEADERS,
                optional=True,
                extra_compile_args=[*flags, "-ffp-contract=off"],  # the same bytes with and without FMA
            )
            for target, flags in TARGET_FLAGS.items()
        ],
        Extension("dacodec.container._entropy", ["native/entropy.cpp"], optional=True),
    ],
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": AnyPython},
)
