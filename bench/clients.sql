-- What the clients of bench/run_clients.py ask, each exact: counts, sums and bounds. {first} and {day} are days of the
-- data, {t} an unaligned time. DuckDB on the rows of each published version says what may come back.
SELECT metric, count(*), sum(value), min(value), max(value) FROM samples GROUP BY metric ORDER BY metric
SELECT site, count(*), sum(value) FROM samples WHERE metric = 'gpu.power' GROUP BY site ORDER BY site
SELECT date_trunc('day', ts) AS d, count(*), sum(value) FROM samples WHERE metric = 'gpu.memory_used' GROUP BY d ORDER BY d
SELECT cluster, host, max(value) FROM samples WHERE metric = 'gpu.temperature' AND site = 'eu' GROUP BY cluster, host ORDER BY cluster, host
SELECT date_trunc('hour', ts) AS h, sum(value) FROM samples WHERE metric = 'gpu.utilization' AND ts >= TIMESTAMP '{day}' AND ts < TIMESTAMP '{day}' + INTERVAL '1 day' GROUP BY h ORDER BY h
SELECT model, hardware, count(value), sum(value) FROM samples WHERE metric = 'gpu.power' AND ts >= TIMESTAMP '{first}' + INTERVAL '6 hours' GROUP BY model, hardware ORDER BY model, hardware
SELECT environment, count(*) AS n, count(*) FILTER (WHERE site = 'us') AS us FROM samples GROUP BY environment ORDER BY environment
SELECT model, count(*), sum(value) FROM samples WHERE metric = 'gpu.power' AND ts >= TIMESTAMP '{t}' GROUP BY model ORDER BY model
SELECT host, sum(value) AS total FROM samples WHERE metric = 'host.power' GROUP BY host ORDER BY total DESC, host LIMIT 5
SELECT metric, count(*), count(value) FROM samples GROUP BY metric ORDER BY metric
