"""A package that cannot be built without a program of a Debian package."""

import shutil

from setuptools import setup

assert shutil.which("patch"), "patch is missing"
setup(name="needs-patch", version="1", py_modules=[])
