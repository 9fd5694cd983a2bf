"""The page of a verdict: why, which rows, what to do; and what it must not show or run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from gating import NoJudge, gate, sample
from landed import land

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.duck import Duck
from lake.facts import load_facts
from lake.settings import Settings
from quality import gate as gate_module
from quality.advice import advice, known_checks
from quality.checks import Policy, row_checks
from quality.erase import erase
from quality.gate import BatchResult, retry_blocked, run_gate
from quality.plan import Plan
from quality.suites import Suite, load_suite
from quality.verdict_page import page, page_path, write_page


class Read(HTMLParser):
    """The visible text of a page, and its tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.tags = list[str](), list[tuple[str, dict[str, str | None]]]()
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def limited(fact: str = "samples", severity: str = "critical") -> Suite:
    """The fact's suite, with a fifth of the rows as all that may be bad."""
    suite = load_suite(fact)
    [share] = [rule for rule in suite.batch if rule.name == "share_quarantined"]
    rule = share.model_copy(update={"max": Decimal("0.2"), "from_rows": 1, "severity": severity})
    return suite.model_copy(update={"batch": (rule,)})


def judged(settings: Settings, duck: Duck, rows: list[dict[str, Any]], suite: Suite, boot: str = "b") -> BatchResult:
    land(settings, duck, suite.fact, [{**row, "boot": boot} for row in rows])
    return gate(settings, duck, suite.fact, suite=suite)[-1]


def mixed() -> list[dict[str, Any]]:
    """Rows of seven undeclared metrics, of one too large a value, and one good row."""
    many = [sample(metric=f"made.up{number}") for number in range(7) for _ in range(20 - number)]
    return [sample(), *many, *[sample("9999999")] * 3]


def test_a_blocked_page_says_why_with_the_limit_and_which_metrics(settings: Settings, duck: Duck) -> None:
    # Rows that an agent sent some of before are no repeats of this batch, and the older quarantine is no part of it.
    old = judged(settings, duck, [sample(), *[sample("bad")] * 50], load_suite("samples"), boot="old")
    assert (old.verdict, old.quarantine) == ("passed", 50)
    result = judged(settings, duck, mixed(), limited())
    assert (result.verdict, result.quarantine) == ("blocked", 0)
    read = Read(page(settings.lake, result)).text
    count = sum(20 - number for number in range(7))
    assert "samples batch 2: blocked" in read
    share = f"99.2 % of the rows ({count + 3:,} of {count + 4:,}) belong in quarantine; the suite wants at most 20 %"
    assert f"{share} (check share_quarantined )" in read
    assert f"unknown_metric {count} made.up0 20 rows made.up1 19 rows made.up2 18 rows" in read
    assert "made.up4 16 rows and 2 more" in read
    assert "out_of_range 3 column value: 9999999 lies outside 0..120 Cel of gpu.temperature 3 rows" in read
    assert "bad_number" not in read
    assert advice("unknown_metric", "samples") in read
    assert 'unknown_metrics = "accept"' in read


def test_commands_name_the_lake_and_quarantine_only_where_rows_lie_there(settings: Settings, duck: Duck) -> None:
    place = f"--lake {settings.lake.absolute()}"
    blocked = judged(settings, duck, mixed(), limited())
    read = Read(page(settings.lake, blocked)).text
    assert f"fleetcube gate samples --retry-blocked {place} fleetcube build {place}" in read
    assert "fleetcube quarantine" not in read
    assert "trigger the DAG fleetcube_load with retry_blocked" in read
    warned = judged(settings, duck, mixed(), limited(severity="warning"), boot="c")
    assert (warned.verdict, warned.quarantine) == ("warned", len(mixed()) - 1)
    read = Read(page(settings.lake, warned)).text
    assert "The batch is published, with a warning. 99.2 %" in read
    for verb in ("list", "show", "release"):
        assert f"fleetcube quarantine {verb} --fact samples --batch 2 {place}" in read
    assert "--retry-blocked" not in read
    odd = page(Path("/srv/a b/l'ake"), blocked)
    assert escape("""--lake '/srv/a b/l'"'"'ake'""") in odd


def test_nothing_of_a_row_is_markup_and_nothing_runs_or_is_fetched(settings: Settings, duck: Duck) -> None:
    tag = "<script src=//x.example>alert(1)</script><img src=x>"
    rows = [sample(metric=tag, agent=f"{tag}{number}", boot="b") for number in range(9)]
    result = judged(settings, duck, [*rows, sample(metric="m" * 4000), sample(f"{tag}", idx=5)], limited())
    text = page(settings.lake, result)
    assert escape(tag) in text
    assert f"{'m' * 159}…" in text and "m" * 160 not in text.split("<details>")[0]  # noqa: PT018
    tags = Counter(name for name, _ in Read(text).tags)
    assert not {"script", "img", "a", "link", "iframe", "form", "object"} & set(tags)
    assert not any(name.startswith("on") or name in ("src", "href") for _, held in Read(text).tags for name in held)
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in text
    assert "and 5 more" in text, "of ten senders five are shown"


def test_personal_values_and_keys_are_not_quoted_and_an_erasure_takes_the_pages(settings: Settings, duck: Duck) -> None:
    plain = {"ts": "2026-11-10T11:00:00Z", "status": "ok", "model": "m"}
    suite = limited("requests")
    short = suite.rows[0].model_copy(
        update={"name": "short", "column": "user_hash", "rule": "length", "max": 8, "mostly": 1, "min": None}
    )
    suite = suite.model_copy(update={"rows": (*suite.rows, short)})
    rows = [{**plain, "user_hash": "secretsecret"}, {**plain, "status": "odd", "user_hash": "mallory"}]
    rows += [{**plain, "row_key": "mallory-key", "model": model} for model in "ab"]
    result = judged(settings, duck, rows, suite)
    path = write_page(settings.lake, result)
    read = Read(path.read_text()).text
    assert "secret" not in read
    assert "mallory" not in read
    assert "column user_hash: its values are personal, so none is shown 1 row" in read
    assert "the same key came with other content 2 rows" in read
    assert "'odd'" in read
    assert "secret" not in str(result.checks), "and the record, which is for ever, quotes no row"
    assert "'odd'" not in str(result.checks)
    other = page_path(settings.lake, "samples", 1)
    other.write_text("of another fact")
    erase(settings, duck, "requests", {"user_hash": "nobody"}, reason="asked")
    assert path.exists(), "nothing was erased"
    erase(settings, duck, "requests", {"user_hash": "mallory"}, reason="asked")
    assert (path.exists(), other.exists()) == (False, True)


def test_a_resumed_verdict_has_its_reasons(settings: Settings, duck: Duck, monkeypatch: pytest.MonkeyPatch) -> None:
    land(settings, duck, "samples", mixed())
    publish = gate_module.publish
    with monkeypatch.context() as patch:
        patch.setattr(gate_module, "publish", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            gate(settings, duck, suite=limited())
    assert gate_module.publish is publish
    [result] = gate(settings, duck, suite=limited())
    assert [(one.check, one.rows) for one in result.reasons] == [("unknown_metric", 119), ("out_of_range", 3)]
    assert Plan.from_json(Plan(1, {}, {}, result.reasons).to_json()).reasons == result.reasons
    assert Plan.from_json({"batch": 1, "record": {}, "files": {}}).reasons == (), "an intent of an earlier version"


def test_a_batch_that_passes_is_not_looked_into(
    settings: Settings, duck: Duck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quality.audit.find_reasons", lambda *_: pytest.fail("counted for nobody"))
    result = judged(settings, duck, [*[sample()] * 9, sample("bad", idx=99)], limited())
    assert (result.verdict, result.reasons) == ("passed", ())


@pytest.mark.slow
def test_a_rule_on_rows_says_what_it_wanted(settings: Settings, duck: Duck) -> None:
    suite = limited()
    rule = next(rule for rule in suite.rows if rule.name == "interval_in_reach")
    strict = rule.model_copy(update={"severity": "critical", "mostly": Decimal("0.9"), "quarantine": False})
    suite = suite.model_copy(update={"rows": (strict,)})
    land(settings, duck, "samples", [sample(str(at), interval_s="700000") for at in range(3)] + [sample()])
    [result] = run_gate(settings, duck, "samples", clean=clean, catalogue=load_catalogue(), suite=suite)
    read = Read(page(settings.lake, result)).text
    wanted = "are not within 0.001..604800; the suite lets 10 % pass (check interval_in_reach )"
    assert f"Column interval_s: 100 % of the rows (3 of 3) {wanted}" in read, (
        "a row without the column is not spoken of"
    )
    assert "No single row is to blame" in read


def test_a_retried_block_has_a_page_of_its_own(settings: Settings, duck: Duck) -> None:
    judged(settings, duck, mixed(), limited())
    loose: dict[str, Any] = {"clean": clean, "catalogue": load_catalogue(), "judge": NoJudge()}
    [again] = retry_blocked(settings, duck, "samples", suite=limited(), **loose)
    assert "made.up0" in page(settings.lake, again)
    accepting = replace(settings, unknown_metrics="accept")
    [passed] = retry_blocked(accepting, duck, "samples", suite=limited(), **loose)
    assert (passed.verdict, passed.trusted) == ("passed", len(mixed()) - 3)


def test_every_check_of_the_gate_has_advice_of_its_own() -> None:
    of_rows = {check.name for fact in load_facts().values() for check in row_checks(fact, Policy())}
    text = (Path(__file__).parents[2] / "ingestion" / "clean.py").read_text()
    of_texts = text.split("else the first fault: ")[1].split(");")[0].replace("\n", " ").split(",")
    assert known_checks() == of_rows | {name.strip() for name in of_texts} | {"conflict"}
    assert "quality/suites/samples.yaml" in advice("interval_in_reach", "samples")
    assert "suites/orders.yaml in the folder of the setting declarations" in advice("time_known", "orders")
