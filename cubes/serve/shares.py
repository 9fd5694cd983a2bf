"""What one session of an endpoint may take of memory, threads and disk: an equal share of what all may take together.

Each session has an engine of its own, so a statement that takes all it may can't starve the others.
"""

from __future__ import annotations

from dataclasses import replace

from lake.errors import ConfigError
from lake.settings import Settings

_LEAST_MIB = 64


def share_of_session(settings: Settings) -> Settings:
    """The settings of one of `serve_running` sessions. Errors: ConfigError for shares too small to work with."""
    memory_mib = settings.serve_memory_mib // settings.serve_running
    if memory_mib < _LEAST_MIB:
        what = f"{settings.serve_memory_mib} MiB for {settings.serve_running} statements leaves each {memory_mib} MiB."
        todo = f"Raise serve_memory_mib or lower serve_running: a statement wants at least {_LEAST_MIB} MiB."
        raise ConfigError(what, where="serve_memory_mib", todo=todo)
    spill_mib = settings.spill_mib and max(1, settings.spill_mib // settings.serve_running)
    threads = settings.serve_threads or settings.threads
    return replace(settings, memory_mib=memory_mib, spill_mib=spill_mib, threads=threads)
