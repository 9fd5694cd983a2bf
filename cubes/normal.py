"""One spelling for statements that differ in white space, comments and the case of words: what caches go by.

Literals and quoted names stay as they are. A text that this can't read for certain (a backslash, a brace, a dollar
quote, a comment inside a comment) is left alone: it is then merely planned once more.
"""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|--[^\n]*|/\*(?:(?!/\*|\*/).)*\*/|\s+", re.DOTALL)
_UNSURE: Final = re.compile(r"[\\${]|/\*(?:(?!\*/).)*/\*", re.DOTALL)


def normalised(text: str) -> str:
    """The statement's one spelling.

    >>> normalised("SELECT  Model, 'A  b' -- all\\nFROM requests")
    "select model, 'A  b' from requests"
    """
    if _UNSURE.search(text):
        return text
    made, done = [], 0
    for found in _PART.finditer(text):
        kept = found[1]
        made += [text[done : found.start()].lower(), " " if kept is None else kept]
        done = found.end()
    made.append(text[done:].lower())
    # White space beside a comment makes two blanks of one.
    return _squeezed("".join(made)) if "--" in text or "/*" in text else "".join(made).strip()


def _squeezed(text: str) -> str:
    return _BLANKS.sub(lambda found: found[1] or " ", text).strip()


_BLANKS: Final = re.compile(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|\s+")
