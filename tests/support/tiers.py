"""Which tests are left out of the fast tier, by folder, file or the beginning of a test's name.

Slow is what lives through whole lakes, starts processes or servers of its own, or tries many random examples: a second
or more each. Where a whole file is slow, a few of its tests stand for it in the fast tier, so that every part is there.
"""

from __future__ import annotations

from typing import Final

_SLOW: Final = (
    "airflow/test_live.py",
    "airflow/test_postgres.py",
    "airflow/test_runs.py",
    "cubes/plan/test_advise.py",
    "cubes/plan/test_choose.py::test_the_choice_is_within",
    "cubes/plan/test_evolve.py",
    "cubes/plan/test_forecast.py",
    "cubes/serve/test_acting.py::test_a_key_that_ends",
    "cubes/serve/test_acting.py::test_expired",
    "cubes/serve/test_clients.py::test_sqlalchemy",
    "cubes/serve/test_endpoint.py",
    "cubes/serve/test_hostile_endpoint.py",
    "cubes/serve/test_hostile_catalogue.py",
    "cubes/serve/test_login.py::test_failures",
    "cubes/serve/test_quotas.py",
    "cubes/serve/test_running.py",
    "cubes/serve/test_shares.py::test_a_session",
    "cubes/serve/test_stream.py",
    "cubes/serve/test_system_tables.py",
    "cubes/spark/",
    "cubes/test_build.py",
    "cubes/test_compact.py",
    "cubes/test_full_disk.py",
    "cubes/test_buckets.py::test_the_committed_table",
    "cubes/test_declare.py::test_yaml_to_sql_to_yaml_is_the_identity",
    "cubes/test_derived.py::test_a_",
    "cubes/test_derived.py::test_two_rows",
    "cubes/test_grains.py",
    "cubes/test_histograms.py",
    "cubes/test_random_cubes.py",
    "cubes/test_require.py",
    "cubes/test_results.py",
    "cubes/test_selfaudit.py",
    "cubes/test_session.py::test_a_lost_table",
    "cubes/test_session.py::test_long_chains",
    "cubes/test_session.py::test_versions_move",
    "cubes/test_session.py::test_withdrawn_rows",
    "cubes/test_states.py::test_a_spread_is_exact",
    "cubes/test_states.py::test_estimates_stay_within",
    "cubes/test_verify.py",
    "cubes/route/test_aliases.py::test_both_doors",
    "cubes/route/test_as_of.py",
    "cubes/route/test_random.py",
    "cubes/route/test_random_fleets.py",
    "cubes/route/test_suggest.py",
    "e2e/",
    "fleetcube/",
    "ingestion/test_agent.py::test_a_signal",
    "ingestion/test_numbers.py::test_python_reads",
    "ingestion/test_receive.py",
    "ingestion/test_sample.py::test_a_record_comes_back",
    "ingestion/test_simulate.py",
    "lake/test_delta.py::test_of_two_processes",
    "lake/test_duck.py::test_a_division",
    "lake/test_duck.py::test_an_average_is_the",
    "quality/test_corrections.py",
    "quality/notices/test_webhook.py::test_a_slow",
    "quality/test_gate.py::test_order_splits",
)
# Tests that kill a process say so in their names.
_KILLS: Final = "killed"
_STAND: Final = (
    "cubes/plan/test_advise.py::test_a_session_logs",
    "cubes/plan/test_evolve.py::test_a_cuboid_is_added",
    "cubes/plan/test_forecast.py::test_shipped_cubes_are_forecast_exactly_on_a_small_lake[evaluations]",
    "cubes/serve/test_hostile_endpoint.py::test_attacks_over_the_wire[quoting]",
    "cubes/serve/test_hostile_endpoint.py::test_what_users_did",
    "cubes/route/test_random_fleets.py::test_a_few_queries",
    "cubes/route/test_random_fleets.py::test_a_query_comes",
    "cubes/route/test_random_fleets.py::test_parts_add_up[",
    "cubes/route/test_random_fleets.py::test_what_differs",
    "cubes/serve/test_hostile_catalogue.py::test_a_function",
    "cubes/serve/test_quotas.py::test_an_open_answer",
    "cubes/serve/test_running.py::test_a_describe",
    "cubes/serve/test_stream.py::test_few",
    "cubes/test_build.py::test_a_day_may_be_withdrawn_whole",
    "cubes/test_build.py::test_a_filter_limits_the_rows",
    "cubes/test_build.py::test_a_late_row",
    "cubes/test_build.py::test_one_build_equals_the_oracle",
    "cubes/test_build.py::test_refusals",
    "cubes/test_compact.py::test_a_merge_that_loses",
    "cubes/test_compact.py::test_one_writer",
    "cubes/test_derived.py::test_a_column_that_no_dimension_shows",
    "cubes/test_grains.py::test_weeks_lie",
    "cubes/test_histograms.py::test_percentiles_of_histograms_against_plain_python[metric-true-0.5]",
    "cubes/test_histograms.py::test_the_receipt_tells",
    "cubes/test_require.py::test_cube_and_exact",
    "cubes/test_results.py::test_bytes",
    "cubes/test_selfaudit.py::test_the_choice",
    "cubes/test_selfaudit.py::test_comparisons",
    "cubes/test_verify.py::test_every_kind_of_damage_is_found[SELECT * REPLACE (n + 1",
    "cubes/route/test_as_of.py::test_the_receipt",
    "cubes/route/test_suggest.py::test_a_fact_without",
    "fleetcube/test_cli.py::test_a_wrong_setting",
    "fleetcube/test_cli.py::test_every_verb_has_help[build]",
    "fleetcube/test_retire.py::test_rows_without_a_cube",
    "fleetcube/test_status.py",
    "ingestion/test_receive.py::test_a_body_that_is_refused",
    "quality/test_corrections.py::test_refusals",
)


def is_slow(nodeid: str) -> bool:
    """Whether a test, by pytest's name of it, is left out of the fast tier."""
    name = nodeid.removeprefix("tests/")
    killing = _KILLS in name.partition("::")[2]
    return killing or (name.startswith(_SLOW) and not name.startswith(_STAND))
