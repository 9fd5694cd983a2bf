-- What Superset sends, on tables of schema fleet. A line `# rows:` says what comes back, worked out by hand from the jobs
-- of tests/cubes/serve/test_dashboard_shapes.py; the others run and give at least one row.
# rows: 10:00 build 1 | 10:00 gate 3 | 11:00 build 1 | 11:00 gate 1
SELECT DATE_TRUNC('HOUR', ended_at) AS ended_at, step AS step, COUNT(*) AS count FROM fleet.jobs WHERE ended_at >= TO_TIMESTAMP('2020-10-05 10:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') AND ended_at < TO_TIMESTAMP('2020-10-05 12:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') GROUP BY DATE_TRUNC('HOUR', ended_at), step ORDER BY 1, 2 LIMIT 1000;

-- The bounds are of the column, not of the bucket that bears its name.
# rows: 10:00 2
SELECT DATE_TRUNC('HOUR', ended_at) AS ended_at, COUNT(*) AS "COUNT(*)" FROM fleet.jobs WHERE ended_at >= TO_TIMESTAMP('2020-10-05 10:05:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') AND ended_at < TO_TIMESTAMP('2020-10-05 10:59:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') GROUP BY DATE_TRUNC('HOUR', ended_at) ORDER BY "COUNT(*)" DESC LIMIT 50000;

# rows: 10:00 11.0 | 10:05 2.0 | 10:55 0.5 | 11:00 12.5
SELECT DATE_TRUNC('HOUR', ended_at) + INTERVAL '5 MINUTES' * FLOOR(EXTRACT(MINUTE FROM ended_at) / 5) AS ended_at, SUM(seconds) AS "SUM(seconds)" FROM fleet.jobs WHERE ended_at < '2020-10-06' GROUP BY DATE_TRUNC('HOUR', ended_at) + INTERVAL '5 MINUTES' * FLOOR(EXTRACT(MINUTE FROM ended_at) / 5) ORDER BY 1;

# rows: gate 1 80 | build 0 0
SELECT step AS step, COUNT(*) FILTER (WHERE outcome = 'failed') AS failed, SUM(CASE WHEN outcome = 'done' AND step = 'gate' THEN rows ELSE 0 END) AS done FROM fleet.jobs WHERE ended_at < '2020-10-06' GROUP BY step ORDER BY done DESC LIMIT 1000;

# rows: 10:00 gate 60 | 11:00 gate 40
SELECT DATE_TRUNC('HOUR', ended_at) AS ended_at, step AS step, SUM(rows) AS "SUM(rows)" FROM fleet.jobs JOIN (SELECT step AS step__, SUM(rows) AS mme_inner__ FROM fleet.jobs WHERE ended_at < '2020-10-06' GROUP BY step ORDER BY SUM(rows) DESC LIMIT 1) AS series_limit ON step = step__ WHERE ended_at < '2020-10-06' GROUP BY DATE_TRUNC('HOUR', ended_at), step ORDER BY "SUM(rows)" DESC LIMIT 50000;

-- Whole numbers divide as whole numbers do in PostgreSQL; a share wants 1.0 *.
# rows: 18 0.8333 None
SELECT SUM(rows) / COUNT(*) AS a, ROUND(1.0 * COUNT(*) FILTER (WHERE outcome = 'done') / NULLIF(COUNT(*), 0), 4) AS b, 1 / NULLIF(COUNT(*) - 6, 0) AS c FROM fleet.jobs WHERE ended_at < '2020-10-06';

# rows: 5 40
SELECT MIN(rows) AS min, MAX(rows) AS max FROM fleet.jobs WHERE ended_at < '2020-10-06' LIMIT 1000;

# rows: 2
SELECT COUNT(*) AS rowcount FROM (SELECT step AS step, COUNT(*) AS c FROM fleet.jobs WHERE ended_at < '2020-10-06' GROUP BY step) AS rowcount_qry;

# rows: build | gate
SELECT step AS step FROM fleet.jobs WHERE ended_at < '2020-10-06' GROUP BY step ORDER BY step ASC LIMIT 1000;

# rows: 2
SELECT COUNT(*) FROM (SELECT DISTINCT step AS column_values FROM fleet.jobs WHERE ended_at < '2020-10-06' LIMIT 10000) AS x;

-- A virtual dataset.
# rows: gate 3 13500.0 | build 2 10500.0
SELECT step AS step, COUNT(*) AS c, SUM(ms) AS "SUM(ms)" FROM (SELECT step, ended_at, seconds * 1000 AS ms FROM fleet.jobs WHERE outcome = 'done') AS virtual_table WHERE ended_at >= TO_TIMESTAMP('2020-10-05 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') AND ended_at < TO_TIMESTAMP('2020-10-06 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') GROUP BY step ORDER BY c DESC LIMIT 1000;

# rows: gate 10.0 1 None | build 11.0 2 10.0 | gate 13.0 3 1.0 | gate 13.5 4 2.0
SELECT step, SUM(seconds) OVER (ORDER BY ended_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running, ROW_NUMBER() OVER (ORDER BY ended_at) AS n, LAG(seconds) OVER (ORDER BY ended_at) AS before FROM fleet.jobs WHERE ended_at < '2020-10-06' ORDER BY n LIMIT 4;

# rows: -+BUILD+build: cube/serving+cube+bu
SELECT COALESCE(NULLIF(outcome, 'done'), '-') || '+' || UPPER(step) || '+' || CONCAT(step, ': ', subject) || '+' || SPLIT_PART(subject, '/', 1) || '+' || LEFT(step, 2) AS words FROM fleet.jobs WHERE step = 'build' AND ended_at < '2020-10-06' ORDER BY ended_at LIMIT 1;

# rows: 3 10
SELECT COUNT(DISTINCT subject) AS b, SUM(rows) FILTER(WHERE step = 'build' AND outcome = 'done') AS a FROM fleet.jobs WHERE step IN ('gate', 'build') AND ( NOT subject IN ('x')) AND subject ILIKE '%S%' AND outcome <> 'z' AND NOT subject IS NULL AND ended_at < '2020-10-06' AND (rows < 6 OR step = 'gate');

# rows: gate 4
SELECT step, COUNT(*) AS n FROM fleet.jobs WHERE ( (rows > 0) ) AND ended_at < '2020-10-06' GROUP BY step HAVING ( (COUNT(*) > 2) ) ORDER BY n DESC LIMIT 20 OFFSET 0;

# rows: 2.5
SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY seconds) AS p50 FROM fleet.jobs WHERE ended_at < '2020-10-06';

# rows: done gate 3 60.0 | done build 2 40.0
WITH j AS (SELECT step, outcome, count(*) AS n FROM fleet.jobs WHERE ended_at < '2020-10-06' AND outcome = 'done' GROUP BY 1, 2) SELECT outcome, step, n, 100.0 * n / SUM(n) OVER () AS share FROM j ORDER BY n DESC;

# rows: fast 2 | slow 4
SELECT CASE WHEN seconds < 1 + 0.1 THEN 'fast' ELSE 'slow' END AS speed, COUNT(*) AS n FROM fleet.jobs WHERE ended_at < '2020-10-06' GROUP BY CASE WHEN seconds < 1 + 0.1 THEN 'fast' ELSE 'slow' END ORDER BY n;

SELECT ended_at FROM fleet.jobs WHERE NOT ended_at IS NULL LIMIT 1000;

SELECT DATE_TRUNC('WEEK', ended_at) AS a, DATE_TRUNC('MONTH', ended_at) AS b, DATE_TRUNC('QUARTER', ended_at) AS c, DATE_TRUNC('YEAR', ended_at) AS d, COUNT(*) AS n FROM fleet.jobs GROUP BY 1, 2, 3, 4;

SELECT EXTRACT(DOW FROM ended_at) AS d, EXTRACT(HOUR FROM ended_at) AS h, TO_CHAR(ended_at, 'YYYY-MM-DD HH24:MI') AS t, COUNT(*) AS n FROM fleet.jobs GROUP BY 1, 2, 3;

SELECT count(*) FROM fleet.jobs WHERE ended_at >= DATE_TRUNC('day', NOW()) - INTERVAL '7 days' AND ended_at < CURRENT_TIMESTAMP;

SELECT DATE_TRUNC('HOUR', at) AS at, operation AS operation, via AS via, COUNT(*) AS count FROM fleet.audit WHERE at >= TO_TIMESTAMP('2020-10-05 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') GROUP BY DATE_TRUNC('HOUR', at), operation, via ORDER BY count DESC LIMIT 1000;

SELECT 1.0 * SUM(CASE WHEN path = 'cube' THEN 1 ELSE 0 END) / NULLIF(COUNT(*), 0) AS hit_rate, SUM(saved_rows) AS "SUM(saved_rows)" FROM fleet.asked;

SELECT DATE_TRUNC('DAY', arrived_day) AS arrived_day, reason AS reason, SUM(rows) AS "SUM(rows)" FROM (SELECT q.arrived_day, q.reason, q.rows, c.verdict FROM fleet.quarantine AS q LEFT JOIN fleet.quality AS c ON c.fact = q.fact AND c.batch = q.batch) AS virtual_table GROUP BY DATE_TRUNC('DAY', arrived_day), reason ORDER BY "SUM(rows)" DESC LIMIT 1000;

SELECT severity AS severity, outcome AS outcome, COUNT(*) AS n FROM fleet.checks GROUP BY severity, outcome ORDER BY n DESC LIMIT 1000;

SELECT fact AS fact, site AS site, MAX(lag_s) AS "MAX(lag_s)" FROM fleet.freshness GROUP BY fact, site ORDER BY "MAX(lag_s)" DESC LIMIT 1000;
