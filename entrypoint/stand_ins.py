"""Keeps out of process 1 what supervisord imports for its RPC server, which is off: 60 ms of a start and 8 MB."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_UNUSED = (
    "html.parser",
    "http.client",
    "importlib.metadata",
    "importlib.resources",
    "supervisor.xmlrpc",
    "xmlrpc.client",
)
# sections that need none of them
_PLAIN = re.compile(r"supervisord|(program|group):.*")


class _StandIn(ModuleType):
    """A module that has every name; none of them is ever used."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def without_rpc(configuration: str) -> Iterator[None]:
    """Import supervisord within this. Whatever is imported later finds the real modules.

    A configuration text with a server, an event listener or an include may need them: then nothing is kept out.
    """
    sections = re.findall(r"^\[([^]]+)\]", configuration, re.MULTILINE)
    stand_ins = {name: _StandIn(name) for name in _UNUSED if name not in sys.modules}
    if not all(_PLAIN.fullmatch(section) for section in sections):
        stand_ins = {}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
