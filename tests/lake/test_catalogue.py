"""The metric catalogue: what is shipped is whole, and every lint refuses with file, line and field."""

from __future__ import annotations

import re
import time
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from lake.catalogue import Metric, load_catalogue, read_aliases
from lake.errors import DefinitionError
from lake.reference import metrics_markdown
from lake.units import scale

NAMES_OTHERS_RELY_ON = """
agent.collector.success container.gpu.utilization container.gpu.memory.usage container.memory.utilization
service.requests service.request.rate service.request.duration service.inference.duration service.queue.length
service.queue.time model.accuracy model.load_time.pipeline model.load_time.base_model model.load_time.lora
model.load_time.controlnet training.batch_size training.samples gpu.utilization gpu.energy cpu.core.utilization
eval.accuracy llm.time_to_first_token
""".split()

OWN = """\
family: pumps
description: Water pumps
entities: [pump]
defaults:
  kind: gauge
  layer: infrastructure
  source: log
  protocol: log
  sensitivity: public
  labels: none
  sentinels: none
  valid_min: 0
groups:
  flow:
    defaults:
      unit: By/s
      valid_max: 100
      default_aggregation: avg
      method: A wheel turns
      processing: Kept as read
      purpose: Does water flow?
      period_s: 60
    metrics:
      pump.flow:
        description: Water that flows
        source_name: flow
      pump.level:
        description: Water that stands
        source_name: level
"""

# replaced text, replacement, line and text of the error
REFUSED = [
    ("      pump.flow:", "      pump.Flow:", 24, "metric pump.Flow: field name: 'pump.Flow' is not a name"),
    ("      pump.flow:", "      pump:", 24, "metric pump: field name: 'pump' is not a name"),
    ("      pump.flow:", "      pipe.flow:", 24, "names of this family start with: pump."),
    ("      pump.level:", "      pump.flow:", 27, "key 'pump.flow' is there twice (first on line 24)"),
    (
        "  kind: gauge",
        "  kind: guage",
        5,
        "'guage' is not a known value; it is one of counter, gauge, ",
    ),
    (
        "  layer: infrastructure",
        "  layer: service_layer",
        6,
        "metric pump.flow: field layer: 'service_layer' is not a known value",
    ),
    ("  layer: infrastructure\n", "", 23, "layer: is required and missing"),
    ("unit: By/s", "unit: B/s", 16, "unit 'B/s' is written 'By/s' here"),
    ("unit: By/s", "unit: furlong", 16, "unit 'furlong' is not known"),
    ("unit: By/s", "unit: 1", 16, 'Put it in quotes: "1".'),
    ("valid_max: 100", "valid_max: -1", 24, "valid_min 0 is above valid_max -1"),
    ("valid_max: 100", "valid_max:", 17, "metric pump.flow: field valid_max: is empty. Give it a value; none"),
    ("valid_max: 100", "valid_max: .nan", 17, "valid_max"),
    ("default_aggregation: avg", "default_aggregation: rate", 24, "rate means nothing for a gauge"),
    ("  kind: gauge", "  kind: state", 24, "avg means nothing for a state; one of last, max, min."),
    ("method: A wheel turns", 'method: ""', 19, "metric pump.flow: field method: is empty."),
    ("method: A wheel turns", "method:", 19, "method: is empty."),
    ("method: A wheel turns", "metohd: A wheel turns", 19, "Did you mean 'method'?"),
    ("period_s: 60", "period_s: 0", 24, "period_s must be above zero, or none"),
    ("  labels: none", "  labels: []", 10, "is empty; write none where there is none"),
    ("  labels: none", "  labels: [moed]", 10, "label 'moed' is not in the shared list. Did you mean 'mode'?"),
    ("        source_name: level", '        source_name: " "', 29, "metric pump.level: field source_name: is empty."),
    ("        source_name: level", "        source_name: level\n        nmae: x", 30, "Did you mean 'name'?"),
    ("family: pumps", "familly: pumps", 1, "Did you mean 'family'?"),
]


def _load(folder: Path, text: str) -> dict[str, Metric]:
    (folder / "pumps.yaml").write_text(text)
    return dict(load_catalogue(folder).metrics)


def test_every_metric_is_whole() -> None:
    metrics = load_catalogue().metrics
    assert len(metrics) >= 340
    assert set(NAMES_OTHERS_RELY_ON) <= set(metrics)
    for name, metric in metrics.items():
        assert name == metric.name
        for field, value in metric.model_dump().items():
            assert value != "", f"{name}.{field}"
        for text in (metric.description, metric.method, metric.processing, metric.purpose):
            assert len(text) > 8
            assert text[0].isupper() or text[0].isdigit() or text.startswith("n-"), f"{name}: {text}"


def test_fields_say_something_about_their_metrics() -> None:
    metrics = load_catalogue().metrics.values()
    for field, most in (("method", 20), ("purpose", 20), ("processing", 60)):
        text, count = Counter(getattr(metric, field) for metric in metrics).most_common(1)[0]
        assert count <= most, f"{field} {text!r} is filler: {count} metrics share it"


def test_names_and_arithmetic() -> None:
    for metric in load_catalogue().metrics.values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", metric.name)
        if metric.kind == "counter":
            assert metric.valid_min == 0, f"{metric.name}: increments are never below zero"
        if metric.unit == "1" and metric.name.endswith((".utilization", ".ratio", ".accuracy")):
            assert (metric.valid_min, metric.valid_max) == (Decimal(0), Decimal(1))


def test_sentinels_are_the_blanks_of_their_sources() -> None:
    catalogue = load_catalogue()
    assert "9223372036854775794" in catalogue.metric("gpu.memory.temperature").sentinels
    assert {"2147483632", "140737488355328"} <= set(catalogue.metric("gpu.power").sentinels)
    assert "32" in catalogue.metric("gpu.performance_state").sentinels
    for metric in catalogue.metrics.values():
        assert not metric.name.startswith("gpu.") or len(metric.sentinels) >= 13


def test_every_alias_resolves_and_scales_exactly() -> None:
    catalogue = load_catalogue()
    assert len(catalogue.aliases) >= 253
    for alias in catalogue.aliases:
        metric = catalogue.metric(alias.metric)
        assert scale(alias.unit, metric.unit) == alias.scale
        assert alias in catalogue.of_source(alias.source_name)
    assert [(a.metric, a.scale) for a in catalogue.of_source("DCGM_FI_DEV_GPU_UTIL")] == [
        ("gpu.utilization", Fraction(1, 100))
    ]
    assert catalogue.of_source("nothing_like_it") == ()


def test_an_unknown_metric_proposes_the_nearest() -> None:
    with pytest.raises(DefinitionError, match=r"'gpu\.utilisation' is not in the.*Did you mean 'gpu\.utilization'\?"):
        load_catalogue().metric("gpu.utilisation")


def test_a_user_adds_a_family(tmp_path: Path) -> None:
    metrics = _load(tmp_path, OWN)
    assert metrics["pump.flow"].family == "pumps"
    assert (metrics["pump.flow"].valid_max, metrics["pump.flow"].labels) == (Decimal(100), ())
    assert "pump.flow" not in load_catalogue().metrics
    with pytest.raises(DefinitionError, match="no such folder of metrics"):
        load_catalogue(tmp_path / "none")


@pytest.mark.parametrize("old, new, line, said", REFUSED)
def test_lints_name_file_line_and_field(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in OWN
    with pytest.raises(DefinitionError) as caught:
        _load(tmp_path, OWN.replace(old, new, 1))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/pumps.yaml:{line}: "), message
    assert said in message


def test_a_metric_is_declared_once(tmp_path: Path) -> None:
    text = OWN.replace("[pump]", "[pump, gpu]").replace("pump.flow:", "gpu.power:")
    with pytest.raises(DefinitionError, match=r"pumps\.yaml:24: field groups\.flow\.metrics\.gpu\.power: is declared"):
        _load(tmp_path, text)


ALIAS_HEADER = "metric,source,exporter,source_name,unit,scale,note\n"
ALIASES_REFUSED = [
    ("gpu.powr,nvml,nvml,p,mW,0.001,\n", 2, "'gpu.powr' is not in the catalogue. Did you mean 'gpu.power'?"),
    ("gpu.power,nvml,nvml,p,mW,1,\n", 2, "field scale: 1 is not what the units say. From mW to W it is 1/1000."),
    ("gpu.power,nvml,nvml,p,mW,much,\n", 2, "field scale: 'much' is not a number"),
    ("gpu.power,nvml,nvml,p,By,1,\n", 2, "field unit: 'By' does not convert to 'W'"),
    ("gpu.power,nvml,,p,W,1,\n", 2, "field exporter: is empty"),
    ("gpu.power,nvml,nvml,p,W,1\n", 2, "6 cells for 7 columns"),
    ("gpu.power,a,b,p,W,1,\ngpu.power.limit,a,b,p,W,1,\n", 3, "p of b is there already, on line 2"),
]


@pytest.mark.parametrize("text, line, said", ALIASES_REFUSED)
def test_alias_lints(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "aliases.csv"
    path.write_text(ALIAS_HEADER + text)
    with pytest.raises(DefinitionError) as caught:
        read_aliases(path, load_catalogue().metrics)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


def test_alias_header(tmp_path: Path) -> None:
    path = tmp_path / "aliases.csv"
    path.write_text("name,scale\n")
    with pytest.raises(DefinitionError, match=r"aliases\.csv:1: wrong header.*metric,source,exporter"):
        read_aliases(path, load_catalogue().metrics)


def test_the_page_names_every_metric_and_never_changes_by_itself() -> None:
    page = metrics_markdown()
    assert page == metrics_markdown()
    for metric in load_catalogue().metrics.values():
        assert f"| `{metric.name}` |" in page


def test_loading_is_quick() -> None:
    from lake.catalogue import _shipped

    _shipped.cache_clear()
    start = time.process_time()
    load_catalogue()
    assert time.process_time() - start < 0.5
