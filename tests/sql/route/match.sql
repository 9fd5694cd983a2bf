-- The cuboid that is chosen, beside a question of the same answer that needs another one.
# cuboid: model × tenant × status
SELECT model, count(*) FROM requests GROUP BY model;
SELECT model, count(*) FROM requests WHERE status = status GROUP BY model;

# cuboid: model × tenant × status
SELECT model, count(*) FILTER (WHERE status <> 'ok') AS bad FROM requests GROUP BY model;
SELECT model, sum(CASE WHEN status = 'ok' THEN 0 ELSE 1 END) AS bad FROM requests GROUP BY model;

# cuboid: status
SELECT count(*) FILTER (WHERE status = 'timeout') AS n FROM requests;
SELECT count(*) AS n FROM requests WHERE status = 'timeout';

# cuboid: tenant × client_type × priority × status
SELECT DISTINCT priority FROM requests;
SELECT priority FROM requests GROUP BY priority;

# reason: cube serving at 5m: lacks user_hash
SELECT count(*) FROM requests WHERE user_hash = 'u1';
SELECT count(*) FILTER (WHERE user_hash = 'u1') FROM requests;

# reason: cube serving at 5m: 5m buckets don't fit DATE_TRUNC('MINUTE', ts)
SELECT sum(n) AS n FROM (SELECT date_trunc('minute', ts) AS t, count(*) AS n FROM requests GROUP BY 1) x;
SELECT sum(n) AS n FROM (SELECT count(*) AS n FROM requests) x;

-- Beside a local time the offset of a text counts for nothing.
SELECT count(*) FROM requests WHERE ts AT TIME ZONE 'UTC' >= '2026-10-06 08:00:00+02';
SELECT count(*) FROM requests WHERE ts >= TIMESTAMPTZ '2026-10-06 08:00:00+00';

SELECT count(*) FROM requests WHERE ts AT TIME ZONE 'UTC' BETWEEN '2026-10-06 08:00:00-05' AND '2026-10-07 08:00:00-05';
SELECT count(*) FROM requests WHERE ts BETWEEN TIMESTAMPTZ '2026-10-06 08:00:00+00' AND TIMESTAMPTZ '2026-10-07 08:00:00+00';
