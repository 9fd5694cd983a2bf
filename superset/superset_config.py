"""Superset's settings: everything that differs from its defaults, and why.

`manage.py` sets SUPERSET_HOME, the folder of what is secret or kept; docs/superset.md has what to set in
production (PostgreSQL for metadata, Redis for caches, TLS in front, single sign-on).
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))

from acting import act_for

HOME = Path(os.environ["SUPERSET_HOME"])
_LOOK = yaml.safe_load((Path(__file__).parent / "assets" / "look.yaml").read_text(encoding="utf-8"))


def _secret(name: str) -> str:
    """A secret of our own making; Superset's published default must never sign a session."""
    found = (HOME / name).read_text(encoding="ascii").strip()
    if len(found) < 32:
        raise SystemExit(f"{HOME / name} holds no strong secret. Remove it; the next start makes another.")
    return found


SECRET_KEY = _secret("secret_key")
SQLALCHEMY_DATABASE_URI = os.environ.get(
    "SUPERSET_METADATA_URI", f"sqlite:///{HOME / 'superset.db'}?check_same_thread=false"
)

# Sessions and forms. Cookies travel over TLS only, where there is TLS in front (SUPERSET_TLS=1).
_TLS = os.environ.get("SUPERSET_TLS") == "1"
SESSION_COOKIE_SECURE = _TLS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
PERMANENT_SESSION_LIFETIME = timedelta(hours=12)
WTF_CSRF_ENABLED = True
ENABLE_PROXY_FIX = _TLS
# Names are those of the access file, letter for letter.
AUTH_USERNAME_CI = False
RATELIMIT_ENABLED = True
AUTH_RATE_LIMITED = True
AUTH_RATE_LIMIT = "10 per 20 second"
# A dashboard asks for all of its charts at once.
RATELIMIT_APPLICATION = "200 per second"
RATELIMIT_STORAGE_URI = os.environ.get("SUPERSET_REDIS_URL", "memory://")
PUBLIC_ROLE_LIKE = None
FAB_ADD_SECURITY_API = True

# Nothing leaves for elsewhere: no pixels, fonts, tiles or avatars from other hosts.
TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": _TLS,
    "session_cookie_secure": _TLS,
}

FEATURE_FLAGS = {
    # Two people may see different rows of one dataset: what is cached for one is never another's.
    "CACHE_QUERY_BY_USER": True,
    "DRILL_BY": True,
    "DRILL_TO_DETAIL": True,
    # What only some may read is shown to them alone.
    "DASHBOARD_RBAC": True,
    "ENABLE_TEMPLATE_PROCESSING": False,
    "ALERT_REPORTS": False,
    "ESCAPE_MARKDOWN_HTML": True,
}

# The endpoint keeps answers by the versions that they rest on, so they are never stale; Superset's own cache of data
# would be, and is off unless a Redis is named.
_REDIS = os.environ.get("SUPERSET_REDIS_URL")
_CACHE: dict[str, Any] = (
    {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": _REDIS, "CACHE_DEFAULT_TIMEOUT": 60} if _REDIS else {}
)
if os.environ.get("SUPERSET_CACHE") == "files":
    _CACHE = {"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": str(HOME / "cache"), "CACHE_DEFAULT_TIMEOUT": 60}
DATA_CACHE_CONFIG: dict[str, Any] = {**_CACHE, "CACHE_KEY_PREFIX": "data_"} if _CACHE else {"CACHE_TYPE": "NullCache"}
CACHE_CONFIG = DATA_CACHE_CONFIG

# Who asks is told to the endpoint, which decides what they see. With SUPERSET_RAW=1, which bench/run_superset.py sets
# to compare, it is also asked to answer from trusted rows and not from cubes.
DB_CONNECTION_MUTATOR = act_for


def FLASK_APP_MUTATOR(_app: Any) -> None:
    """Finish the parser of time ranges before threads share it.

    It rearranges itself at its first use; two charts that asked at once just after a start could both fail by
    "Expected '(', found ')'".
    """
    from superset.utils.date_parser import datetime_parser

    datetime_parser().streamline()


ROW_LIMIT = 10_000
SQL_MAX_ROW = 100_000
SQLLAB_TIMEOUT = 60
SUPERSET_WEBSERVER_TIMEOUT = 60
DEFAULT_TIME_FILTER = "DATEADD(DATETIME('today'), -7, day) : "
MAPBOX_API_KEY = ""
SCARF_ANALYTICS = False

APP_NAME = "fleetcube"
EXTRA_CATEGORICAL_COLOR_SCHEMES = [
    {"id": name, "label": name, "description": "", "isDefault": name == _LOOK["palette"], "colors": colours}
    for name, colours in _LOOK["palettes"].items()
]
EXTRA_SEQUENTIAL_COLOR_SCHEMES = [
    {"id": name, "label": name, "description": "", "isDiverging": False, "isDefault": True, "colors": colours}
    for name, colours in _LOOK["sequentials"].items()
]
