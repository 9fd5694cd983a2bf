"""Intent files: what a step is about to do, durable before it does it, so that a killed step is redone the same.

Layout: `<lake>/_work/<component>/<name>.json`, written beside and renamed, with file and folder synced. Of a lake in
an object store they lie there, as `_intents/<component>/<name>.json`, so that any host can complete a step that
another one left, once it has that one's claim (see `lake/lease.py`); but for those that name files of one host.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lake.errors import LakeError
from lake.places import address, is_remote
from lake.shared import files_below, read_texts

if TYPE_CHECKING:
    from lake.objects import Place

# A round of the inbox is of files that only its own host has.
_OF_ONE_HOST: Final = frozenset({"inbox"})
_SHARED: Final = "_intents"


def work_folder(lake: Path, component: str) -> Path:
    """The component's own work folder, made if missing; nothing in it is ever read by queries."""
    folder = lake / "_work" / component
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_intent(lake: Path, component: str, name: str, content: dict[str, Any]) -> None:
    """Make `content` the durable intent of that name, replacing an older one."""
    if _is_shared(lake, component):
        _shared(lake, component, name).put(json.dumps(content, sort_keys=True).encode())
        return
    folder = work_folder(lake, component)
    beside = folder / f".{name}.json.tmp"
    with beside.open("w", encoding="utf-8") as file:
        json.dump(content, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(folder / f"{name}.json")
    sync_folder(folder)


def read_intents(lake: Path, component: str) -> dict[str, dict[str, Any]]:
    """Every open intent of the component by name, in the order of their names."""
    if _is_shared(lake, component):
        texts = read_texts([one.path for one in files_below(lake / _SHARED / component, ".json")])
    else:
        paths = sorted((lake / "_work" / component).glob("[!.]*.json"))
        texts = {path: path.read_text(encoding="utf-8") for path in paths}
    found: dict[str, dict[str, Any]] = {}
    for path, text in texts.items():
        try:
            found[path.stem] = json.loads(text)
        except ValueError as error:
            raise LakeError(
                f"The intent file is damaged: {error}.",
                where=address(path) if _is_shared(lake, component) else str(path),
                todo="Move it away and run the step again; nothing of it was acknowledged.",
            ) from error
    return found


def clear_intent(lake: Path, component: str, name: str) -> None:
    """Forget an intent whose work is done; a missing one is fine, since clearing may itself have been cut short."""
    if _is_shared(lake, component):
        from lake.objects import delete_objects

        delete_objects([_shared(lake, component, name).path])
        return
    folder = work_folder(lake, component)
    (folder / f"{name}.json").unlink(missing_ok=True)
    sync_folder(folder)


def intended(lake: Path) -> str:
    """The text of every open intent of the lake, for whoever must know what a step still means to do."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((lake / "_work").glob("*/*.json"))]
    if is_remote(lake):
        texts += read_texts([one.path for one in files_below(lake / _SHARED, ".json")]).values()
    return "\n".join(texts)


def _is_shared(lake: Path, component: str) -> bool:
    return is_remote(lake) and component not in _OF_ONE_HOST


def _shared(lake: Path, component: str, name: str) -> Place:
    from lake.objects import place_of

    return place_of(lake / _SHARED / component / f"{name}.json")


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that names made or removed in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
