-- Conditions on what a sub-query gives, and the range that its rows or cells are then read of; both sides from the same
-- lake, the right one from rows alone.
# window: 2026-10-06T01:00:00Z 2026-10-06T05:00:00Z
SELECT sum(n) AS n FROM (SELECT date_trunc('hour', ts) AS ts, count(*) AS n FROM requests GROUP BY 1) AS t WHERE ts >= '2026-10-06 00:30:00' AND ts < '2026-10-06 04:30:00';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-06 01:00:00' AND ts < '2026-10-06 05:00:00';

# window: 2026-10-06T01:00:00Z 2026-10-06T04:00:00Z
SELECT model, max(n) AS n FROM (SELECT model, DATE_TRUNC('HOUR', ts) AS ts, COUNT(*) AS n FROM requests GROUP BY model, DATE_TRUNC('HOUR', ts)) AS virtual_table WHERE ts >= TO_TIMESTAMP('2026-10-06 01:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') AND ts < TO_TIMESTAMP('2026-10-06 04:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') GROUP BY model;
SELECT model, max(n) AS n FROM (SELECT model, date_trunc('hour', ts) AS h, count(*) AS n FROM requests WHERE ts >= '2026-10-06 01:00:00' AND ts < '2026-10-06 04:00:00' GROUP BY 1, 2) AS t GROUP BY model;

# window: 2026-10-06T01:00:00Z 2026-10-06T02:00:00Z
SELECT sum(n) AS n FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM requests GROUP BY 1) AS t WHERE h = '2026-10-06 01:00:00';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-06 01:00:00' AND ts < '2026-10-06 02:00:00';

# window: 2026-10-06T02:00:00Z 2026-10-06T02:00:00Z
SELECT count(*) AS n FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM requests GROUP BY 1) AS t WHERE h = '2026-10-06 01:30:00';
SELECT count(*) AS n FROM requests WHERE false;

# window: 2026-10-06T02:00:00Z 2026-10-06T05:00:00Z
SELECT sum(n) AS n FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM requests GROUP BY 1) AS t WHERE h > '2026-10-06 01:00:00' AND h <= '2026-10-06 04:00:00';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-06 02:00:00' AND ts < '2026-10-06 05:00:00';

# window: 2026-10-06T00:05:00Z 2026-10-06T00:20:00Z
SELECT sum(n) AS n FROM (SELECT DATE_TRUNC('HOUR', ts) + INTERVAL '5 MINUTES' * FLOOR(EXTRACT(MINUTE FROM ts) / 5) AS b, count(*) AS n FROM requests GROUP BY 1) AS t WHERE b >= '2026-10-06 00:01:00' AND b < '2026-10-06 00:16:00';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-06 00:05:00' AND ts < '2026-10-06 00:20:00';

# window: 2026-10-06T00:00:30Z 2026-10-06T00:20:00Z
SELECT sum(n) AS n FROM (SELECT DATE_TRUNC('MINUTE', ts) + INTERVAL '30 SECONDS' * FLOOR(EXTRACT(SECOND FROM ts) / 30) AS b, count(*) AS n FROM requests GROUP BY 1) AS t WHERE b > '2026-10-06 00:00:00' AND b < '2026-10-06 00:20:00';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-06 00:00:30' AND ts < '2026-10-06 00:20:00';

# window: 2026-11-01T00:00:00Z 2027-02-01T00:00:00Z
SELECT count(*) AS n FROM (SELECT date_trunc('month', ts) AS m FROM requests GROUP BY 1) AS t WHERE m > '2026-10-01' AND m < '2027-01-17';
SELECT count(*) AS n FROM requests WHERE false;

# window: 2026-10-01T00:00:00Z 2027-01-01T00:00:00Z
SELECT sum(n) AS n FROM (SELECT date_trunc('quarter', ts) AS q, count(*) AS n FROM requests GROUP BY 1) AS t WHERE q BETWEEN '2026-08-01' AND '2026-11-11';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-01' AND ts < '2027-01-01';

# window: 2026-10-05T00:00:00Z 2026-10-12T00:00:00Z
SELECT sum(n) AS n FROM (SELECT date_trunc('week', ts) AS w, count(*) AS n FROM requests GROUP BY 1) AS t WHERE w >= '2026-10-04' AND w < '2026-10-09';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-05' AND ts < '2026-10-12';

# window: 2026-10-06T01:00:00Z None
SELECT sum(n) AS n FROM (SELECT h AS ts, n FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM requests GROUP BY 1) AS a) AS b WHERE ts >= '2026-10-06 01:00:00';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-06 01:00:00';

# window: 2026-10-07T00:00:00Z None
SELECT sum(n) AS n FROM (SELECT date_trunc('day', h) AS d, sum(n) AS n FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM requests GROUP BY 1) AS a GROUP BY 1) AS b WHERE d >= '2026-10-06 01:00:00';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-07';

# window: 2026-10-06T01:00:00Z None
SELECT sum(n) AS n FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM requests GROUP BY 1 UNION ALL SELECT date_trunc('hour', ts), count(*) FROM evaluations GROUP BY 1) AS t WHERE h >= '2026-10-06 01:00:00';
SELECT (SELECT count(*) FROM requests WHERE ts >= '2026-10-06 01:00:00') + (SELECT count(*) FROM evaluations WHERE ts >= '2026-10-06 01:00:00') AS n;

-- A condition on other keys goes inside as it is.
SELECT site, sum(n) AS n FROM (SELECT site, model, count(*) AS n FROM requests GROUP BY 1, 2) AS t WHERE site = 'eu' AND model IN ('llama-3', 'qwen_2') GROUP BY 1;
SELECT site, count(*) AS n FROM requests WHERE site = 'eu' AND model IN ('llama-3', 'qwen_2') GROUP BY 1;

SELECT count(*) AS n FROM (SELECT site, count(*) AS n FROM requests GROUP BY 1) AS t WHERE site IS NULL OR site <> 'eu';
SELECT count(DISTINCT coalesce(site, '')) AS n FROM requests WHERE site IS NULL OR site <> 'eu';

-- What stays outside: conditions on what is no key, beside LIMIT, DISTINCT ON, windows and rolled-up keys.
# window: None None
SELECT count(*) AS n FROM (SELECT model, max(ts) AS ts FROM requests GROUP BY 1) AS t WHERE ts >= '2026-10-06 20:00:00';
SELECT count(*) AS n FROM (SELECT model, max(ts) AS l FROM requests GROUP BY 1) AS t WHERE l >= '2026-10-06 20:00:00';

# window: None None
SELECT count(*) AS n FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM requests GROUP BY 1 ORDER BY 1 LIMIT 3) AS t WHERE h >= '2026-10-06 01:00:00';
SELECT count(*) AS n FROM (SELECT date_trunc('hour', ts) AS x, count(*) AS n FROM requests GROUP BY 1 ORDER BY 1 LIMIT 3) AS t WHERE extract(epoch FROM x) >= extract(epoch FROM TIMESTAMPTZ '2026-10-06 01:00:00Z');

# window: None None
SELECT max(r) AS n FROM (SELECT date_trunc('hour', ts) AS h, row_number() OVER (ORDER BY date_trunc('hour', ts)) AS r FROM requests GROUP BY 1) AS t WHERE h < '2026-10-07 01:00:00' AND h >= '2026-10-06 01:00:00';
SELECT count(*) AS n FROM (SELECT date_trunc('hour', ts) AS x FROM requests GROUP BY 1) AS t WHERE x < '2026-10-07 01:00:00';

# window: None None
SELECT sum(n) AS n FROM (SELECT date_trunc('hour', ts) AS h, site, count(*) AS n FROM requests GROUP BY ROLLUP (1, 2)) AS t WHERE h IS NULL OR h < '2026-10-06 01:00:00';
SELECT (SELECT count(*) FROM requests) + 2 * (SELECT count(*) FROM requests WHERE ts < '2026-10-06 01:00:00') AS n;

# window: None None
SELECT count(*) AS n FROM (SELECT DISTINCT ON (model) model, ts FROM requests ORDER BY model, ts) AS t WHERE ts >= '2026-10-06 01:00:00';
SELECT count(*) AS n FROM (SELECT model, min(ts) AS x FROM requests GROUP BY 1) AS t WHERE x >= '2026-10-06 01:00:00';

# window: None None
SELECT count(*) AS n FROM evaluations AS e LEFT JOIN (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM requests GROUP BY 1) AS t ON t.h = date_trunc('hour', e.ts) WHERE t.h IS NULL OR t.h < '2026-10-06 01:00:00';
SELECT count(*) AS n FROM evaluations AS e LEFT JOIN (SELECT date_trunc('hour', ts) AS h, max(e2e_ms) AS n FROM requests GROUP BY 1) AS t ON t.h = date_trunc('hour', e.ts) WHERE coalesce(t.h < '2026-10-06 01:00:00', true);

# window: None None
SELECT sum(n) AS n FROM (SELECT date_trunc('hour', ts AT TIME ZONE 'Europe/Berlin') AS h, count(*) AS n FROM requests GROUP BY 1) AS t WHERE h >= '2026-10-06 01:00:00';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-05 23:00:00';

# window: None None
SELECT min(h) AS n FROM (SELECT date_trunc('hour', ts) AS h FROM requests GROUP BY 1 UNION ALL SELECT date_trunc('hour', ts) FROM evaluations GROUP BY 1 ORDER BY 1 LIMIT 3 OFFSET 1) AS t WHERE h >= '2026-10-05 23:00:00';
SELECT min(x) AS n FROM (SELECT date_trunc('hour', ts) AS x FROM requests GROUP BY 1 UNION ALL SELECT date_trunc('hour', ts) FROM evaluations GROUP BY 1 ORDER BY 1 LIMIT 3 OFFSET 1) AS t WHERE extract(epoch FROM x) >= extract(epoch FROM TIMESTAMPTZ '2026-10-05 23:00:00Z');

# window: None None
SELECT max(h) AS n FROM ((SELECT date_trunc('hour', ts) AS h FROM requests GROUP BY 1) ORDER BY 1 LIMIT 3) AS t WHERE h >= '2026-10-06 00:00:00';
SELECT max(x) AS n FROM ((SELECT date_trunc('hour', ts) AS x FROM requests GROUP BY 1) ORDER BY 1 LIMIT 3) AS t WHERE extract(epoch FROM x) >= extract(epoch FROM TIMESTAMPTZ '2026-10-06 00:00:00Z');
