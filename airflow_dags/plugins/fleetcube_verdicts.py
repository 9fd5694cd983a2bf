"""Airflow's page also shows the gate's verdicts: /fleetcube/verdicts/NAME.html, to whoever is logged in.

So the link at the end of a failed task's log, and its button *Verdict*, lead somewhere on every machine from which the
page itself is seen.
"""

from __future__ import annotations

import re
from pathlib import Path

from airflow.api_fastapi.core_api.security import get_user
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import Variable
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

# A page's name as the gate makes it: it can lead nowhere else.
_PAGE = re.compile(r"[a-z][a-z0-9_]*-[0-9]{8,}\.html")

app = FastAPI(openapi_url=None)


@app.get("/verdicts/{name}", dependencies=[Depends(get_user)])
def verdict(name: str) -> HTMLResponse:
    """One page, as the gate has written it; it holds no script, and may fetch none."""
    path = Path(Variable.get("FLEETCUBE_VERDICTS")) / name
    if not _PAGE.fullmatch(name) or not path.is_file():
        raise HTTPException(404, "There is no such verdict; the newest 1,000 are kept.")
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
    return HTMLResponse(path.read_text(encoding="utf-8"), headers=headers)


class FleetcubeVerdicts(AirflowPlugin):
    """What Airflow loads."""

    name = "fleetcube_verdicts"
    fastapi_apps = [{"app": app, "url_prefix": "/fleetcube", "name": "fleetcube verdicts"}]  # noqa: RUF012
