"""The slow truth about the real traces in plain Python: what their files hold, sharing no code with the project.

Values are whole numbers of nano-units (1e-9 of the metric's unit), rounded half to even once, so sums are exact.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path

# A file's metric, the power of ten from its unit to the metric's, and whether it is a gauge of pods on the grid.
METRICS = {
    "pod_gpu_duty_cycle_anon": ("container.gpu.utilization", -2, True),
    "pod_gpu_memory_used_bytes_anon": ("container.gpu.memory.usage", 0, True),
    "pod_memory_util_anon": ("container.memory.utilization", 0, True),
    "queue_size_raw_anon": ("service.queue.length", 0, False),
    "qps": ("service.request.rate", 0, False),
    "queue_rt_raw_anon": ("service.queue.time", -3, False),
    "model_predict_data_anon": ("service.inference.duration", -3, False),
    "pipeline_inference_data_anon": ("service.request.duration", -3, False),
    "pipeline_update_latency_anon": ("model.load_time.pipeline", -3, False),
    "basemodel_update_latency_anon": ("model.load_time.base_model", -3, False),
    "lora_update_latency_anon": ("model.load_time.lora", -3, False),
    "controlnet_latency_data_anon": ("model.load_time.controlnet", -3, False),
}
GRID_S = 57
# What stands for the time between two readings: the gauges of pods, and the queue, are read on the grid.
TIMED = {metric for metric, _, of_pod in METRICS.values() if of_pod} | {"service.queue.length"}
REQUEST_FIELDS = ("prompt_length", "num_images_per_prompt", "num_inference_steps", "checkpoint_model_version_id")
_NOTHING = ("", "NULL", "None")
_WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass
class Samples:
    """Good values by metric as (Unix seconds, pod or "", nano); bad rows by what is wrong."""

    values: dict[str, list[tuple[int, str, int]]] = field(default_factory=lambda: defaultdict(list))
    bad: Counter[str] = field(default_factory=Counter)


def lines(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a compressed CSV file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        yield from csv.DictReader(text)


def read_samples(folder: Path) -> Samples:
    """Every file of metrics: a pod's gauge without its pod is bad, and so is every one of two values at one time."""
    found = Samples()
    for stem, (metric, power, of_pod) in METRICS.items():
        values = []
        for line in lines(folder / f"{stem}.csv.gz"):
            pod = "" if line["container_ip"] in _NOTHING else line["container_ip"]
            nano = int(_WIDE.to_integral_value(_WIDE.scaleb(Decimal(line["value"]), 9 + power)))
            if of_pod and not pod:
                found.bad["missing_required"] += 1
            else:
                values.append((int(Decimal(line["timestamp_anon"])), pod, nano))
        seen = Counter(value[:2] for value in values) if of_pod else Counter[tuple[int, str]]()
        found.values[metric] = [value for value in values if seen[value[:2]] < 2]
        found.bad["conflict"] += len(values) - len(found.values[metric])
    return found


@dataclass
class Requests:
    """Rows of the request log: those with all request fields, and those without any."""

    whole: list[dict[str, str]] = field(default_factory=list)
    hollow: list[dict[str, str]] = field(default_factory=list)


def read_requests(folder: Path) -> Requests:
    """The request log; asserts that no row misses some of the request fields only."""
    found = Requests()
    for line in lines(folder / "lora_request_trace.csv.gz"):
        missing = sum(line[name] in _NOTHING for name in REQUEST_FIELDS)
        assert missing in (0, len(REQUEST_FIELDS))
        (found.hollow if missing else found.whole).append(line)
    return found


def read_calls(folder: Path) -> list[tuple[datetime, int, int]]:
    """The conversation trace as (time in microseconds, prompt tokens, generated tokens)."""
    return [
        (
            # The seventh digit of the fraction is below a microsecond.
            datetime.strptime(line["TIMESTAMP"][:26], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC),
            int(line["ContextTokens"]),
            int(line["GeneratedTokens"]),
        )
        for line in lines(folder / "AzureLLMInferenceTrace_conv.csv.gz")
    ]
