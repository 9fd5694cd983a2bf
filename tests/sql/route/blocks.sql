-- Time ranges in the forms that tools write, and the plain half-open range that they come down to.
# window: 2026-10-06T01:00:00Z 2026-10-07T02:00:00Z
SELECT count(*) FROM requests WHERE ts BETWEEN '2026-10-06 01:00:00' AND '2026-10-07 01:59:59.999999';
SELECT count(*) FROM requests WHERE ts >= '2026-10-06 01:00:00' AND ts < '2026-10-07 02:00:00';

# window: 2026-10-06T00:00:00.000001Z None
SELECT count(*) FROM requests WHERE NOT ts IS NULL AND (DATE '2026-10-06' < ts);
SELECT count(*) FROM requests WHERE ts > '2026-10-06';

# window: 2026-10-06T05:43:00Z 2026-10-06T12:00:00Z
SELECT count(*) FROM requests WHERE ts >= TIMESTAMPTZ '2026-10-06 14:00:00+02' - INTERVAL '6 hours 17 minutes' AND ts < date_trunc('hour', TIMESTAMP '2026-10-06 12:34:56');
SELECT count(*) FROM requests WHERE ts >= '2026-10-06 05:43:00' AND ts < '2026-10-06 12:00:00';

# window: 2026-10-06T00:00:00Z 2026-10-06T00:00:00.000001Z
SELECT count(*) FROM requests WHERE ts = '2026-10-06';
SELECT count(*) FROM requests WHERE ts >= '2026-10-06' AND ts < '2026-10-06 00:00:00.000001';

# window: 2026-10-06T00:00:00Z None
SELECT count(*) FROM requests WHERE ts >= to_timestamp(1791244800);
SELECT count(*) FROM requests WHERE ts >= '2026-10-06';

# window: None None
SELECT count(*) FROM requests WHERE ts > '-infinity' AND ts <= 'infinity';
SELECT count(*) FROM requests;
