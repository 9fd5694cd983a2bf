-- Ranges cut into whole buckets and edges, beside the same range in two halves.
# pieces: 1d
SELECT count(*) AS n, sum(e2e_ms) AS s FROM requests WHERE ts >= '2026-10-06' AND ts < '2026-10-08';
SELECT sum(n) AS n, sum(s) AS s FROM (SELECT count(*) AS n, sum(e2e_ms) AS s FROM requests WHERE ts >= '2026-10-06' AND ts < '2026-10-06 13:13:13' UNION ALL SELECT count(*), sum(e2e_ms) FROM requests WHERE ts >= '2026-10-06 13:13:13' AND ts < '2026-10-08') halves;

# pieces: 1h 1d 1h
SELECT max(queue_ms) AS m FROM requests WHERE ts >= '2026-10-05 23:00:00' AND ts < '2026-10-07 03:00:00';
SELECT greatest((SELECT max(queue_ms) FROM requests WHERE ts >= '2026-10-05 23:00:00' AND ts < '2026-10-06 11:11:11'), (SELECT max(queue_ms) FROM requests WHERE ts >= '2026-10-06 11:11:11' AND ts < '2026-10-07 03:00:00')) AS m;

# pieces: 1d
# edges: 0
SELECT min(e2e_ms) AS m FROM requests;
SELECT min(e2e_ms) AS m FROM requests WHERE ts < '2026-10-06 05:05:05' OR ts >= '2026-10-06 05:05:05';

# pieces: 5m 1h 1d 1h 5m
# edges: 2
SELECT metric, count(*) AS n FROM samples WHERE metric = 'gpu.power' AND ts >= '2026-10-05 22:48:01' AND ts < '2026-10-07 22:22:22' GROUP BY metric;
SELECT metric, count(*) AS n FROM samples WHERE metric = 'gpu.power' AND NOT ts < '2026-10-05 22:48:01' AND NOT ts >= '2026-10-07 22:22:22' GROUP BY metric;
