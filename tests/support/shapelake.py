"""The random lake of `sqllake` with lookups that fit its rows, for queries that others wrote."""

from __future__ import annotations

from sqllake import make_lake

from lake.duck import connect
from lake.lookup_store import ensure_lookups, publish_lookup
from lake.lookups import load_lookups
from lake.settings import Settings

# Some keys of the rows are in no lookup, and some of a lookup in no row: joins must drop the one, and keep the other.
_ROWS = {
    "hardware": [
        {"hardware": "h100", "vendor": "NVIDIA", "memory_gib": "80", "tdp_w": "700"},
        {"hardware": "mi300x", "vendor": "AMD", "memory_gib": "192", "tdp_w": "750"},
        {"hardware": "l40s", "vendor": "PNY", "memory_gib": "48"},
    ],
    "models": [
        {"model": "llama-3", "model_version": "1", "family": "llama", "architecture": "decoder", "parameters": "8"},
        {"model": "llama-3", "model_version": "2", "family": "llama", "architecture": "decoder", "parameters": "70"},
        {"model": "qwen-2", "model_version": "1", "family": "qwen", "architecture": "experts", "parameters": "57"},
        {"model": "qwen_2", "model_version": "1", "family": "qwen", "architecture": "decoder", "parameters": "7"},
        {"model": "falcon", "model_version": "1", "family": "falcon", "architecture": "decoder"},
    ],
    "sites": [
        {"site": "eu", "cluster": "eu-0", "region": "eu-north", "country": "NOR", "pue": "1.1"},
        {"site": "eu", "cluster": "eu-1", "region": "eu-west", "country": "FRA", "pue": "1.25"},
        {"site": "us", "cluster": "us-0", "region": "us-east", "country": "USA", "pue": "1.4"},
        {"site": "us", "cluster": "us-1", "region": "us-east", "country": "USA"},
    ],
}


def make_shape_lake(settings: Settings, *, rows: int = 500) -> None:
    """Fill the settings' lake."""
    duck = connect(settings)
    for name, given in _ROWS.items():
        columns = [column.name for column in load_lookups()[name].columns]
        publish_lookup(settings.lake, duck, name, [tuple(row.get(column) for column in columns) for row in given])
    ensure_lookups(settings.lake, duck, ["carbon", "prices"])
    duck.connection.close()
    make_lake(settings, rows=rows)
