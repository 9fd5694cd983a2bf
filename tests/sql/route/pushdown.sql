-- Questions that rows answer, with the reason, beside one that cells answer.
# reason: its condition on ts is not one range, or ts itself is grouped by
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-07' OR ts < '2026-10-07';
SELECT count(*) AS n FROM requests;

# reason: rows are asked for, not aggregates
SELECT count(*) AS n FROM (SELECT tenant FROM requests WHERE tenant = 'a') t;
SELECT count(*) AS n FROM requests WHERE tenant = 'a';

# reason: the sum of "requests"."prompt_tokens" + 0 is not kept as a state
SELECT sum(prompt_tokens + 0) AS s FROM requests;
SELECT sum(prompt_tokens) AS s FROM requests;

# reason: percentiles and distinct values over grouping sets are computed from rows
SELECT tenant, percentile_disc(0.5) WITHIN GROUP (ORDER BY e2e_ms) AS n FROM requests GROUP BY ROLLUP (tenant);
SELECT tenant, percentile_disc(0.5) WITHIN GROUP (ORDER BY e2e_ms) AS n FROM requests GROUP BY tenant HAVING percentile_disc(0.5) WITHIN GROUP (ORDER BY e2e_ms) > -1 UNION ALL SELECT NULL, percentile_disc(0.5) WITHIN GROUP (ORDER BY e2e_ms) FROM requests HAVING percentile_disc(0.5) WITHIN GROUP (ORDER BY e2e_ms) > -1;
