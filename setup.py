"""Builds the one extension. Everything else about the project stands in pyproject.toml.

Switches, as environment variables:
    BEAST_SANITIZE=address,undefined   instrument the extension (run Python with the sanitizer's library preloaded)
    BEAST_COVERAGE=1                   instrument it for gcov
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

FAST = Path("src/beast/_fast")

# -iquote and not -I: headers of ours must never stand before the system's.
compile_args = [
    "-std=c11",
    "-iquote",
    str(FAST / "c"),
    "-D_GNU_SOURCE",
    "-O3",
    "-fno-tree-slp-vectorize",  # packing two words of a request into a vector costs more than it saves
    "-g1",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-pthread",
]
link_args = ["-pthread"]

sanitizers = os.environ.get("BEAST_SANITIZE", "")
if sanitizers:
    switch = f"-fsanitize={sanitizers}"
    compile_args += [switch, "-fno-omit-frame-pointer", "-O1"]
    link_args += [switch]
elif os.environ.get("BEAST_COVERAGE"):
    compile_args += ["--coverage", "-O0"]
    link_args += ["--coverage"]
else:
    # The loop over a batch calls one small function per file: they are inlined across files.
    compile_args += ["-flto=auto"]
    link_args += ["-flto=auto", "-O3"]

setup(
    ext_modules=cythonize(
        [
            Extension(
                "beast._fast._core",
                sources=[str(FAST / "_core.pyx"), *sorted(str(path) for path in (FAST / "c").glob("*.c"))],
                depends=[str(p) for pattern in ("c/*.h", "wrap/*.pxi", "*.pxd") for p in sorted(FAST.glob(pattern))],
                define_macros=[("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                py_limited_api=True,
            )
        ],
        compiler_directives={"language_level": "3", "embedsignature": True, "boundscheck": False, "wraparound": False},
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
