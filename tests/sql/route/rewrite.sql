-- The same question in two shapes: on one block, and by hand over its groups.
SELECT model, avg(e2e_ms) AS a FROM requests GROUP BY model HAVING avg(e2e_ms) > 100;
SELECT model, s / n AS a FROM (SELECT model, sum(e2e_ms) AS s, count(e2e_ms) AS n FROM requests GROUP BY model) t WHERE s / n > 100;

SELECT tenant, sum(output_tokens) FILTER (WHERE status = 'ok') AS good FROM requests GROUP BY tenant;
SELECT tenant, sum(CASE WHEN status = 'ok' THEN output_tokens END) AS good FROM requests GROUP BY tenant;

SELECT count(DISTINCT model) AS models FROM requests;
SELECT count(*) AS models FROM (SELECT DISTINCT model FROM requests WHERE model IS NOT NULL) t;

SELECT metric, time_avg(value) AS mean FROM samples GROUP BY metric;
SELECT metric, sum(value * interval_s) / sum(CASE WHEN value IS NOT NULL THEN interval_s END) AS mean FROM samples GROUP BY metric;

SELECT sum(n) AS n FROM (SELECT status, count(*) AS n FROM requests GROUP BY status) t;
SELECT sum(n) AS n FROM (SELECT count(*) AS n FROM requests WHERE status = 'ok' UNION ALL SELECT count(*) FROM requests WHERE NOT status = 'ok' UNION ALL SELECT count(*) FROM requests WHERE status IS NULL) t;

-- A query inside has columns of its own; what it takes from around must be a key.
SELECT count(*) AS n, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY e2e_ms) FROM requests) AS p FROM requests;
SELECT (SELECT count(*) FROM requests) AS n, percentile_cont(0.5) WITHIN GROUP (ORDER BY e2e_ms) AS p FROM requests;

-- The same words inside another query mean that query's rows.
SELECT model, count(*) AS n, (SELECT count(*) FROM evaluations) AS s FROM requests GROUP BY model;
SELECT model, count(*) AS n, (SELECT count(metric) FROM evaluations) AS s FROM requests GROUP BY model;

SELECT model, count(*) FROM requests GROUP BY model HAVING count(*) > (SELECT avg(n) FROM (SELECT count(*) AS n FROM requests GROUP BY model) AS z);
WITH m AS (SELECT model, count(*) AS count FROM requests GROUP BY model) SELECT model, count FROM m WHERE count > (SELECT avg(count) FROM m);

SELECT model, count(*) * 100.0 / (SELECT count(*) FROM requests) AS share FROM requests GROUP BY model;
WITH t AS (SELECT count(*) AS n FROM requests) SELECT model, count(*) * 100.0 / max(t.n) AS share FROM requests, t GROUP BY model;

SELECT model, max(model) AS m FROM requests r GROUP BY model HAVING max(model) IN (SELECT max(model) FROM requests r WHERE site = 'eu');
SELECT model, model AS m FROM requests GROUP BY model HAVING model = (SELECT max(q.model) FROM requests q WHERE q.site = 'eu');

SELECT status, (SELECT count(*) FROM requests q WHERE q.status = r.status) AS n FROM requests r GROUP BY status;
SELECT status, count(*) AS n FROM requests GROUP BY status;

SELECT model, count(*) AS n, count(*) OVER (PARTITION BY model) AS w, sum(count(*)) OVER () AS t FROM requests GROUP BY model;
WITH m AS (SELECT model, count(*) AS n FROM requests GROUP BY model) SELECT model, n, 1::bigint AS w, (SELECT sum(n) FROM m) AS t FROM m;

-- Sets of keys are the union of their groupings, each with its own repeats.
SELECT tenant, site, count(*) AS n, avg(e2e_ms) AS a FROM requests GROUP BY ROLLUP (tenant, site);
SELECT tenant, site, count(*) AS n, avg(e2e_ms) AS a FROM requests GROUP BY tenant, site UNION ALL SELECT tenant, NULL, count(*), avg(e2e_ms) FROM requests GROUP BY tenant UNION ALL SELECT NULL, NULL, count(*), avg(e2e_ms) FROM requests;

SELECT tenant, site, count(*) AS n FROM requests GROUP BY GROUPING SETS ((tenant), site, (), ());
SELECT tenant, NULL AS site, count(*) AS n FROM requests GROUP BY tenant UNION ALL SELECT NULL, site, count(*) FROM requests GROUP BY site UNION ALL SELECT NULL, NULL, count(*) FROM requests UNION ALL SELECT NULL, NULL, count(*) FROM requests;

-- Sums of branches keep the places of the finest: 0 has none, nor have tokens.
SELECT site, sum(CASE WHEN status = 'ok' THEN e2e_ms ELSE 0 END) AS s, avg(CASE WHEN status = 'ok' THEN e2e_ms ELSE 7 END) AS a FROM requests GROUP BY site;
SELECT site, coalesce(sum(e2e_ms) FILTER (WHERE status = 'ok'), 0) AS s, (coalesce(sum(e2e_ms) FILTER (WHERE status = 'ok'), 0) + 7 * count(*) FILTER (WHERE status <> 'ok')) / (count(*) - count(*) FILTER (WHERE status = 'ok' AND e2e_ms IS NULL)) AS a FROM requests GROUP BY site;

SELECT site, sum(CASE status WHEN 'ok' THEN e2e_ms WHEN 'error' THEN prompt_tokens ELSE 0 END) AS s FROM requests GROUP BY site;
SELECT site, coalesce(sum(e2e_ms) FILTER (WHERE status = 'ok'), 0) + coalesce(sum(prompt_tokens) FILTER (WHERE status = 'error'), 0) AS s FROM requests GROUP BY site;
