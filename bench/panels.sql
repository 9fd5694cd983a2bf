-- The panels of a dashboard: slices and dices of the bench's samples. {end} is the end of the data (a midnight),
-- {t} the end of an unaligned range a little before it. The same text runs on cubes, on DuckDB and on chDB.
-- 1 health now: mean by site, last hour
SELECT site, avg(value) AS mean FROM samples WHERE metric = 'gpu.power' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 hour' AND ts < TIMESTAMP '{end}' GROUP BY site ORDER BY site
-- 2 the day by hour and site
SELECT date_trunc('hour', ts) AS h, site, avg(value) AS mean, max(value) AS peak FROM samples WHERE metric = 'gpu.utilization' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY h, site ORDER BY h, site
-- 3 two days by hour and host of a cluster
SELECT date_trunc('hour', ts) AS h, host, avg(value) AS mean FROM samples WHERE metric = 'gpu.utilization' AND cluster = 'cluster-0' AND ts >= TIMESTAMP '{end}' - INTERVAL '2 days' AND ts < TIMESTAMP '{end}' GROUP BY h, host ORDER BY h, host
-- 4 unaligned: the last two days and a bit by model
SELECT model, count(*) AS n, sum(value) AS total FROM samples WHERE metric = 'gpu.power' AND ts >= TIMESTAMP '{t}' - INTERVAL '2 days' AND ts < TIMESTAMP '{t}' GROUP BY model ORDER BY model
-- 5 top hosts
SELECT host, max(value) AS peak FROM samples WHERE metric = 'gpu.temperature' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY host ORDER BY peak DESC, host LIMIT 5
-- 6 model by hardware
SELECT model, hardware, avg(value) AS mean, min(value) AS low, max(value) AS high FROM samples WHERE metric = 'gpu.utilization' AND ts >= TIMESTAMP '{end}' - INTERVAL '2 days' AND ts < TIMESTAMP '{end}' GROUP BY model, hardware ORDER BY model, hardware
-- 7 a few models, IN
SELECT model, sum(value) AS total FROM samples WHERE metric = 'gpu.power' AND model IN ('llama-3', 'phi-4') AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY model ORDER BY model
-- 8 production against test, unaligned
SELECT environment, count(value) AS n, avg(value) AS mean FROM samples WHERE metric = 'cpu.utilization' AND ts >= TIMESTAMP '{t}' - INTERVAL '1 day' AND ts < TIMESTAMP '{t}' GROUP BY environment ORDER BY environment
-- 9 shares by CASE
SELECT site, sum(CASE WHEN hardware = 'h100' THEN value ELSE 0 END) AS h100, sum(value) AS total FROM samples WHERE metric = 'gpu.power' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY site ORDER BY site
-- 10 warm clusters, HAVING
SELECT cluster, avg(value) AS mean FROM samples WHERE metric = 'gpu.temperature' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY cluster HAVING avg(value) > 40 ORDER BY cluster
-- 11 any of two places
SELECT count(*) AS n, max(value) AS peak FROM samples WHERE metric = 'gpu.memory_used' AND (site = 'eu' OR cluster = 'cluster-5') AND ts >= TIMESTAMP '{end}' - INTERVAL '2 days' AND ts < TIMESTAMP '{end}'
-- 12 daily, all kept
SELECT date_trunc('day', ts) AS d, sum(value) AS total FROM samples WHERE metric = 'host.power' AND ts < TIMESTAMP '{end}' GROUP BY d ORDER BY d
-- 13 hourly peaks of one device, unaligned
SELECT date_trunc('hour', ts) AS h, max(value) AS peak FROM samples WHERE metric = 'gpu.temperature' AND host = 'host-3' AND device = 'GPU-25' AND ts >= TIMESTAMP '{t}' - INTERVAL '1 day' AND ts < TIMESTAMP '{t}' GROUP BY h ORDER BY h
-- 14 heat map of a day, host by hour
SELECT host, date_trunc('hour', ts) AS h, avg(value) AS mean FROM samples WHERE metric = 'gpu.utilization' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY host, h ORDER BY host, h
-- 15 how many devices report
SELECT site, count(DISTINCT device) AS devices FROM samples WHERE metric = 'gpu.power' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY site ORDER BY site
-- 16 every metric's rows
SELECT metric, count(*) AS n, count(value) AS measured FROM samples WHERE ts >= TIMESTAMP '{end}' - INTERVAL '2 days' AND ts < TIMESTAMP '{end}' GROUP BY metric ORDER BY metric
-- 17 two filters side by side
SELECT count(*) FILTER (WHERE site = 'eu') AS eu, count(*) FILTER (WHERE site = 'us') AS us, avg(value) AS mean FROM samples WHERE metric = 'gpu.power' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}'
-- 18 difference to the hour before
SELECT h, mean - lag(mean) OVER (ORDER BY h) AS step FROM (SELECT date_trunc('hour', ts) AS h, max(value) AS mean FROM samples WHERE metric = 'host.power' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY h) AS hours ORDER BY h
-- 19 sums with their totals
SELECT site, cluster, sum(value) AS total FROM samples WHERE metric = 'gpu.power' AND ts >= TIMESTAMP '{end}' - INTERVAL '1 day' AND ts < TIMESTAMP '{end}' GROUP BY ROLLUP (site, cluster) ORDER BY site, cluster
-- 20 one model on one kind of hardware, unaligned
SELECT date_trunc('hour', ts) AS h, avg(value) AS mean FROM samples WHERE metric = 'gpu.utilization' AND model = 'qwen-2' AND hardware = 'h100' AND ts >= TIMESTAMP '{t}' - INTERVAL '2 days' AND ts < TIMESTAMP '{t}' GROUP BY h ORDER BY h
