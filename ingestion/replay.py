"""Replay of foreign logs: files through a mapping into landing, each file once for ever.

A row's identity is (digest of the decompressed content, number of the line, or of the row in a Parquet file). The
commit that lands a file also stores its digest as a transaction number, so a file is known however it is named, however
late it comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path

from ingestion.emission import Replayed, emitted, header_names, parquet_lines, write_chunk
from ingestion.land import Landed, Member, land_batch
from ingestion.lines import CHUNK_BYTES, Chunk, chunks, digest
from ingestion.mapping_form import FileEntry, LogMapping
from lake.delta import open_snapshot
from lake.duck import Duck
from lake.errors import TransportError
from lake.intents import work_folder
from lake.parquet import parquet_rows, parquet_texts
from lake.tables import landing
from lake.times import utc_now

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ReplayedFile:
    """What became of one file: batches by fact, and facts that had it before. `lines` counts header and blank ones."""

    path: Path
    agent: str
    lines: int = 0
    landed: Mapping[str, Landed] = field(default_factory=dict)
    known: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that landed now, over all facts; a gap row counts."""
        return sum(batch.rows for batch in self.landed.values())

    @property
    def changed(self) -> bool:
        """False when the file brought nothing new."""
        return bool(self.landed)


def replay(
    duck: Duck,
    lake: Path,
    paths: Sequence[Path],
    mapping: LogMapping,
    *,
    received_at: datetime | None = None,
    progress: Progress | None = None,
) -> list[ReplayedFile]:
    """Land every file (a folder stands for those of its files that the mapping knows), in the order of the paths.

    Every name, header and entry is checked before the first row lands. `progress` gets (files done, files, name).
    """
    files = expand(paths, mapping)
    entries = [mapping.entry_for(path) for path in files]
    for path, entry in zip(files, entries, strict=True):
        entry.path_parts(path)
        if entry.format == "parquet":
            parquet_texts(path, entry.wanted())
        else:
            _open(path, entry, size_bytes=1)
    result = []
    for number, (path, entry) in enumerate(zip(files, entries, strict=True)):
        if progress is not None:
            progress(number, len(files), path.name)
        result.append(_replay_file(duck, lake, path, mapping, entry, received_at=received_at or utc_now()))
    if progress is not None:
        progress(len(files), len(files), "")
    return result


def expand(paths: Sequence[Path], mapping: LogMapping) -> list[Path]:
    """The files to read: those named, and those in named folders whose name some entry matches, by name."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            mapping.entry_for(path)
            found.append(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if file.is_file() and mapping.matches(file)]
        if not inside:
            raise TransportError(
                f"No file here fits mapping '{mapping.mapping}'.",
                where=str(path),
                todo=f"It reads: {', '.join(entry.match for entry in mapping.files)}.",
            )
        found += inside
    return found


def _replay_file(
    duck: Duck, lake: Path, path: Path, mapping: LogMapping, entry: FileEntry, *, received_at: datetime
) -> ReplayedFile:
    content = digest(path)
    agent = f"file:{content[:32]}"
    facts = tuple(dict.fromkeys(emit.fact for emit in entry.emit))
    known = tuple(fact for fact in facts if open_snapshot(lake, landing(fact)).txn(agent) is not None)
    landed: dict[str, Landed] = {}
    lines = 0
    for fact in facts:
        if fact in known:
            continue
        shared = (mapping, entry, path, agent, received_at)
        land = partial(land_batch, duck, lake, fact, members=[Member(path.name, content)], txns={agent: 1})
        if entry.format == "parquet":
            lines = parquet_rows(path)
            batch = land([_parquet_select(Replayed(*shared, entry.wanted()), fact)])
        else:
            names, stream = _open(path, entry)
            reader = _Reader(Replayed(*shared, names), stream)
            batch = land(reader.selects(fact, work_folder(lake, "replay") / f"{content[:32]}.txt"))
            lines = reader.lines
        if batch is not None:
            landed[fact] = batch
    return ReplayedFile(path, agent, lines, landed, known)


def _parquet_select(replayed: Replayed, fact: str) -> str:
    return emitted(replayed, fact, parquet_lines(replayed.path, replayed.names))


def _open(path: Path, entry: FileEntry, *, size_bytes: int = CHUNK_BYTES) -> tuple[tuple[str, ...], Iterator[Chunk]]:
    """Names of a line's texts and the file's chunks; an empty file has neither header nor rows."""
    stream = chunks(path, size_bytes)
    first = next(stream, None)
    if first is None:
        return (entry.line_names() or entry.wanted()), iter(())
    names = header_names(entry, path, first.text.partition("\n")[0])
    return names, chain((first,), stream)


class _Reader:
    """Chunks of one file, each put into a work file while its SELECT runs; counts lines as they go by."""

    def __init__(self, replayed: Replayed, stream: Iterator[Chunk]) -> None:
        self.lines = 0
        self._replayed = replayed
        self._stream = stream

    def selects(self, fact: str, target: Path) -> Iterator[str]:
        """SELECTs of the fact's rows; each is good until the next is asked for."""
        try:
            for chunk in self._stream:
                self.lines += chunk.lines
                yield write_chunk(self._replayed, chunk, target)(fact)
        finally:
            target.unlink(missing_ok=True)
