"""Intent files: what a step is about to do, durable before it does it, so that a killed step is redone the same.

Layout: `<lake>/_work/<component>/<name>.json`, written beside and renamed, with file and folder synced.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lake.errors import LakeError


def work_folder(lake: Path, component: str) -> Path:
    """The component's own work folder, made if missing; nothing in it is ever read by queries."""
    folder = lake / "_work" / component
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_intent(lake: Path, component: str, name: str, content: dict[str, Any]) -> None:
    """Make `content` the durable intent of that name, replacing an older one."""
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
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((lake / "_work" / component).glob("[!.]*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise LakeError(
                f"The intent file is damaged: {error}.",
                where=str(path),
                todo="Move it away and run the step again; nothing of it was acknowledged.",
            ) from error
    return found


def clear_intent(lake: Path, component: str, name: str) -> None:
    """Forget an intent whose work is done; a missing one is fine, since clearing may itself have been cut short."""
    folder = work_folder(lake, component)
    (folder / f"{name}.json").unlink(missing_ok=True)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that names made or removed in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
