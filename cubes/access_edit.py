"""Edits of an access file by the command line: one user's line is put in or taken out, all other text stays.

The file is people's, with remarks and an order of their own, and reviewed as text: so it is edited as text, checked
whole as it would be, and only then replaced.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

from cubes.access import check_access, load_access
from cubes.access_form import UserSpec
from lake.documents import Document, read_document
from lake.errors import DefinitionError, did_you_mean
from lake.private import write_private

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN: Final = frozenset("true false null True False Null TRUE FALSE NULL".split())
_HEAD: Final = "# Who may read what on the SQL endpoint; see docs/access.md.\n"


def put_user(path: Path, name: str, roles: list[str], tenant: str | None) -> None:
    """Give a user exactly these roles and this tenant. Errors: DefinitionError, and nothing has changed."""
    held = load_access(path).users.get(name)
    parts = [f"roles: [{', '.join(map(_word, roles))}]"]
    if tenant is not None:
        parts.append(f"tenant: {json.dumps(tenant, ensure_ascii=False)}")
    if held is not None and held.quotas.model_dump(exclude_none=True):
        quotas = held.quotas.model_dump(exclude_none=True).items()
        parts.append(f"quotas: {{{', '.join(f'{bound}: {value}' for bound, value in quotas)}}}")
    _replace(path, name, f"{_word(name)}: {{{', '.join(parts)}}}")


def take_user(path: Path, name: str) -> None:
    """Take a user out of the file; nothing happens where it doesn't name them."""
    if name in load_access(path).users:
        _replace(path, name, "")


def change_roles(path: Path, name: str, *, add: str = "", drop: str = "") -> UserSpec | None:
    """Give a user a role or take one away; gives what the file says then (None: no role is left).

    Errors: DefinitionError for a role that there is not, or that the user has not.
    """
    access = load_access(path)
    held = access.users.get(name)
    roles = list(held.roles) if held is not None else []
    if add and add not in access.roles:
        raise DefinitionError(f"There is no role '{add}'.", where=str(path), todo=did_you_mean(add, access.roles))
    if drop and drop not in roles:
        raise DefinitionError(f"'{name}' has no role '{drop}'.", where=str(path), todo=did_you_mean(drop, roles))
    roles = [one for one in (*roles, *([add] if add and add not in roles else [])) if one != drop]
    if not roles:
        take_user(path, name)
        return None
    put_user(path, name, roles, held.tenant if held is not None else None)
    return load_access(path).users[name]


def known_roles(path: Path) -> dict[str, str]:
    """Every role, shipped or of the file, with its description."""
    return dict(load_access(path).roles)


def _replace(path: Path, name: str, line: str) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    lines = text.splitlines()
    at = dict(read_document(path).lines) if path.exists() else {}
    start = at.get(("users", name))
    if start is not None and start == at[("users",)]:
        raise DefinitionError("users stand on one line.", where=f"{path}:{start}", todo="Write each on its own line.")
    if start is not None:
        first, end = start - 1, _end(lines, start - 1)
        indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
        lines[first:end] = [indent + line] if line else []
    elif line:
        place = at.get(("users",))
        if place is None:
            lines += ["", "users:"] if lines else ["users:"]
            place = len(lines)
        elif not re.fullmatch(r"users:\s*(#.*)?", lines[place - 1]):
            raise DefinitionError("users stand on one line.", where=f"{path}:{place}", todo="Write `users:` alone.")
        others = [number for where, number in at.items() if len(where) == 2 and where[0] == "users"]
        row = lines[min(others) - 1] if others else "  "
        lines.insert(place, row[: len(row) - len(row.lstrip())] + line)
    _checked(path, "\n".join(lines) + "\n")


def _end(lines: list[str], first: int) -> int:
    """The line behind a block: the next one that is not deeper than its first."""
    depth = len(lines[first]) - len(lines[first].lstrip())
    end = first + 1
    while end < len(lines) and lines[end].strip() and len(lines[end]) - len(lines[end].lstrip()) > depth:
        end += 1
    return end


def _checked(path: Path, text: str) -> None:
    """Replace the file, once its new text has been read and checked as the endpoint would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    trial = path.with_name(f".{path.name}.{os.getpid()}.yaml")
    try:
        write_private(trial, text)
        document = read_document(trial)
        check_access(Document(path, document.value, document.lines))
    finally:
        trial.unlink(missing_ok=True)
    write_private(path, text, mode)


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text not in _TAKEN else json.dumps(text)
