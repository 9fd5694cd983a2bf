"""Objects of an S3-compatible store: what the tables and the steps of a lake there need of it.

A PUT that returned is durable, an object is whole or absent, and a listing shows what was put before: nothing here
syncs. A store must refuse a PUT with `If-None-Match: *` where the object is there, since a Delta commit and a claim are
no more than that; each process asks it once, before it first writes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import ConfigError, LakeError
from lake.places import SCHEME, SharedFile, address
from lake.store_access import PATIENCE, options, retries, translated

if TYPE_CHECKING:
    from obstore.store import S3Store

    from lake.objects_fs import ObjectFiles


@dataclass(frozen=True)
class Place:
    """An object, or a prefix of objects, by the path below its lake; every method may raise LakeError."""

    path: Path
    client: S3Store
    key: str

    def get(self) -> bytes | None:
        """The object's content, or None where there is none."""
        with translated(self.path):
            try:
                return bytes(self.client.get(self.key).bytes())
            except FileNotFoundError as error:
                # A missing bucket is another matter.
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def size(self) -> int | None:
        """The object's bytes, or None where there is none."""
        with translated(self.path):
            try:
                return int(self.client.head(self.key)["size"])
            except FileNotFoundError:
                return None

    def put(self, content: bytes) -> None:
        """Put the object, over one that may be there."""
        with translated(self.path):
            self.client.put(self.key, content)

    def put_new(self, content: bytes) -> bool:
        """Put the object where none is; False when there is one of other content. Of two that try, one wins."""
        from obstore.exceptions import AlreadyExistsError

        with translated(self.path):
            try:
                self.client.put(self.key, content, mode="create")
            except AlreadyExistsError:
                # A first attempt whose answer was lost may have put it.
                return self.get() == content
        return True

    def below(self) -> Iterator[SharedFile]:
        """Every object below, in the order of their names."""
        with translated(self.path):
            for page in self.client.list(self.key, chunk_size=1000):
                for meta in page:
                    inside = meta["path"].removeprefix(self.key).lstrip("/")
                    # Some servers list their own folders as empty objects.
                    if inside and not meta["path"].endswith("/"):
                        yield SharedFile(self.path / inside, meta["size"], meta["last_modified"])

    def folders(self) -> list[str]:
        """Names that have objects below them, in order."""
        with translated(self.path):
            found = self.client.list_with_delimiter(self.key)["common_prefixes"]
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)


def place_of(path: Path | str) -> Place:
    """The place of a path below a lake in an object store, or of an object's URL."""
    bucket, _, key = address(path).removeprefix(SCHEME).partition("/")
    return Place(Path(path), _client(bucket, tuple(sorted(options().items())), retries()), key)


def delete_objects(paths: Iterable[Path]) -> None:
    """Delete objects of one lake, many to a request; those that aren't there are fine."""
    places = [place_of(path) for path in paths]
    if places:
        with translated(places[0].path):
            places[0].client.delete([place.key for place in places])


def require_one_winner(lake: Path) -> None:
    """LakeError unless the store refuses to put an object where one is; asked once a process."""
    _probe(lake, tuple(sorted(options().items())))


def file_system() -> ObjectFiles:
    """What DuckDB reads and writes objects through; ConfigError where the extra is missing."""
    try:
        from lake.objects_fs import ObjectFiles
    except ImportError as error:
        raise _missing("fsspec") from error
    return ObjectFiles()


@lru_cache
def _probe(lake: Path, _: tuple[tuple[str, str], ...]) -> None:
    place = place_of(lake / "_probe" / uuid.uuid4().hex)
    place.put_new(b"first")
    refused = not place.put_new(b"second")
    delete_objects([place.path])
    if not refused:
        raise LakeError(
            "The store lets a conditional PUT (If-None-Match: *) replace an object, so two writers could both win.",
            where=address(lake),
            todo="Use a store that keeps it (docs/object-stores.md says how to tell); nothing was written.",
        )


@lru_cache
def _client(bucket: str, found: tuple[tuple[str, str], ...], retries: int) -> S3Store:
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise _missing("obstore") from error
    config = {name: value for name, value in found if name != "allow_http"}
    return S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]
        client_options={"allow_http": ("allow_http", "true") in found, "connect_timeout": "5s", "timeout": "120s"},
        retry_config={"max_retries": retries, "retry_timeout": PATIENCE},
    )


def _missing(package: str) -> ConfigError:
    todo = "Install the extra: `pip install fleetcube[s3]`."
    return ConfigError(f"A lake in an object store needs {package}.", where="lake", todo=todo)
