"""The versions of a cube in a lake: one table for each definition that was ever built, the definition in its metadata.

A changed definition is built beside the old one, which answers until the new one stands and then waits to be dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cubes.model import Cube
from cubes.segments import table_of
from cubes.stored import PROPERTY, from_text
from lake import delta
from lake.errors import LakeError
from lake.lease import lease
from lake.shared import drop_table, folder_names, has_table

if TYPE_CHECKING:
    from lake.delta import Snapshot


@dataclass(frozen=True)
class Version:
    """A built definition of a cube and its table."""

    cube: Cube
    snapshot: Snapshot

    @property
    def size_bytes(self) -> int:
        """Bytes of the files that its newest version names."""
        return sum(file.size_bytes for file in self.snapshot.files)

    @property
    def watermark(self) -> int:
        """The trusted batch up to which it stands."""
        return self.snapshot.txn("watermark") or 0


def built_digests(lake: Path, name: str) -> tuple[str, ...]:
    """The digests under which tables of a cube lie in the lake, in order; cheap enough to ask at every statement."""
    folder = lake / "cubes" / name
    return tuple(digest for digest in folder_names(folder) if has_table(folder / digest))


def version_of(lake: Path, name: str, digest: str) -> Version | None:
    """One built version, read by the definition that lies with it; None where nothing was built or it has none.

    Errors: LakeError when a newer program wrote the definition.
    """
    bare = table_of(Cube(name, "", (), (), (), (), (), (), digest))
    found = delta.open_snapshot(lake, bare)
    text = found.property(PROPERTY)
    if text is None or found.txn("build") is None:
        return None
    cube = from_text(text, str(found.root))
    return Version(cube, delta.open_snapshot(lake, table_of(cube)))


def old_versions(lake: Path, cube: Cube) -> list[Version]:
    """The other built versions of a cube, the one that stands furthest first."""
    others = (version_of(lake, cube.name, digest) for digest in built_digests(lake, cube.name) if digest != cube.digest)
    found = [version for version in others if version is not None]
    return sorted(found, key=lambda one: (-one.watermark, -(one.snapshot.txn("build") or 0), one.cube.digest))


def drop_version(lake: Path, cube: Cube, old: Version) -> None:
    """Delete an old version's table; statements under way that read it may fail, later ones never look at it.

    Errors: LakeError while the declared version has not been built, since the old one is what answers then.
    """
    if delta.open_snapshot(lake, table_of(cube)).txn("build") is None:
        raise LakeError(
            f"The declared version of cube {cube.name} has not been built; version {old.cube.digest} answers for it.",
            todo=f"Run `fleetcube build {cube.name}` first.",
        )
    assert old.cube.digest != cube.digest, "only old versions are given here"
    with lease(lake, old.snapshot.ref.key):
        drop_table(old.snapshot.root)
