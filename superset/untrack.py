"""Takes the address of the outside host that counts visits out of Superset's pages, right after its installation.

The page loads a picture from there whatever SCARF_ANALYTICS says; the content policy in `superset_config.py` would
stop it too, but with an error in every console. Ends with an error when the address is not found, so that an upgrade
that moves it is noticed.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_COUNTER: Final = b"https://apachesuperset.gateway.scarf.sh/pixel/"
# A picture of one transparent pixel; what followed the address becomes a fragment that nobody reads.
_NOTHING: Final = b"data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7#"


def main() -> None:
    """Replace the address in every script of the installation."""
    found = find_spec("superset")
    if found is None or found.origin is None:
        sys.exit("untrack: Superset is not installed in this environment.")
    assets = Path(found.origin).parent / "static" / "assets"
    changed = 0
    for script in sorted(assets.glob("*.js")):
        text = script.read_bytes()
        if _COUNTER in text or _NOTHING in text:
            script.unlink()  # The file may be a link into a cache that other environments share.
            script.write_bytes(text.replace(_COUNTER, _NOTHING))
            changed += 1
    if not changed:
        sys.exit(f"untrack: no script of {assets} has the address of the counter; look where this version calls.")
    print(f"untrack: the visit counter is out of {changed} script(s)")


if __name__ == "__main__":
    main()
