"""Airflow's page also shows the gate's verdicts: /fleetcube/verdicts/NAME.html, to whoever is logged in.

So the link at the end of a failed task's log, and its button *Verdict*, lead somewhere on every machine from which the
page itself is seen.
"""

from __future__ import annotations

import re
from pathlib import Path

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import get_user
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import Variable
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, RedirectResponse

# A page's name as the gate makes it: it can lead nowhere else.
_PAGE = re.compile(r"[a-z][a-z0-9_]*-[0-9]{8,}\.html")

app = FastAPI(openapi_url=None)


@app.exception_handler(HTTPException)
async def to_login(request: Request, error: HTTPException) -> Response:
    """A person who is not logged in, or no more, is led by the login page to where the link was meant to lead."""
    if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)), 303)
    return await http_exception_handler(request, error)


@app.get("/verdicts/{name}", dependencies=[Depends(get_user)])
def verdict(name: str) -> HTMLResponse:
    """One page, as the gate has written it; it holds no script, and may fetch none."""
    path = Path(Variable.get("FLEETCUBE_VERDICTS")) / name
    if not _PAGE.fullmatch(name) or not path.is_file():
        raise HTTPException(404, "There is no such verdict: the newest 1,000 are kept, none of erased facts.")
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
    return HTMLResponse(path.read_text(encoding="utf-8"), headers=headers)


class FleetcubeVerdicts(AirflowPlugin):
    """What Airflow loads."""

    name = "fleetcube_verdicts"
    fastapi_apps = [{"app": app, "url_prefix": "/fleetcube", "name": "fleetcube verdicts"}]  # noqa: RUF012
