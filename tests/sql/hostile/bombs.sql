-- Resources: what would take all time or memory.

# either
SELECT * FROM generate_series(1, 1000000000000)
SELECT count(*) FROM generate_series(1, 1000000000000)
SELECT * FROM range(1000000000000)
SELECT generate_series(1, 1000000000)
SELECT unnest(range(1000000000))
SELECT repeat('x', 1000000000)
SELECT lpad('x', 1000000000)
SELECT rpad('x', 1000000000, 'y')
SELECT replace(repeat('a', 100000), 'a', repeat('b', 100000))
SELECT string_to_array(repeat('a,', 1000000), ',')
SELECT regexp_replace(repeat('a', 100000), '(a+)+$', 'b')
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t
WITH RECURSIVE t AS (SELECT 1 AS n UNION SELECT n * 2 FROM t) SELECT * FROM t LIMIT 10
SELECT md5(repeat('a', 1000000000))
SELECT random()
SELECT gen_random_uuid()
SELECT uuid()
SELECT factorial(100000)
SELECT CAST(repeat('9', 1000) AS int)
SELECT to_char(ts, repeat('YYYY', 100000)) FROM requests
SELECT model LIKE repeat('%', 100000) FROM requests
SELECT regexp_matches(model, '(a+)+$') FROM requests
SELECT setseed(0.5)
SELECT hash(tenant) FROM requests
SELECT round(e2e_ms, 2147483648) FROM requests
SELECT time_bucket('-1 hours', ts), count(*) FROM requests GROUP BY 1
SELECT ntile(0) OVER () FROM requests
SELECT count(*) FROM requests GROUP BY CUBE (site, service, model, model_version, hardware, tenant, status, client_type, priority, environment, deployment, endpoint, error_code, feature, namespace, pod, container, host)

# equal
SELECT count(*) FROM requests WHERE model ~ '(a+)+$' AND tenant = 'b'
SELECT 10 ^ 10 ^ 10 ^ 10
SELECT power(10, 400)
SELECT exp(100000)
SELECT date_bin('1 microsecond', ts, ts - interval '200000 years') FROM requests
SELECT ntile(9223372036854775807) OVER () FROM requests
SELECT lag(tenant, 9223372036854775807) OVER (ORDER BY ts) FROM requests
SELECT count(*) OVER (ROWS BETWEEN 9223372036854775807 PRECEDING AND CURRENT ROW) FROM requests
SELECT left(model, -9223372036854775808) FROM requests
SELECT split_part(model, '', -2147483648) FROM requests

# refused 22003
SELECT 99999999999999999999999999999999999999 * 99999999999999999999999999999999999999
SELECT 9223372036854775807 + 1
SELECT CAST(300 AS smallint) * 30000
SELECT sum(output_tokens * 9223372036854775807) FROM requests
SELECT date '2026-01-01' + interval '1000000000 years'
SELECT interval '99999999999999 centuries'
SELECT time_bucket('0 seconds', ts) FROM requests
SELECT * FROM requests LIMIT 9223372036854775808
SELECT * FROM requests OFFSET 99999999999999999999
SELECT percentile_cont(-1) WITHIN GROUP (ORDER BY e2e_ms) FROM requests
SELECT substring(model, -9223372036854775808, 9223372036854775807) FROM requests

# refused 22P02
SELECT date_trunc('hour', timestamp '294247-01-01') + interval '100000 years'
SELECT to_timestamp(1e308)

# refused 42601
SELECT * FROM requests LIMIT -1
SELECT * FROM requests LIMIT (SELECT 1)
SELECT percentile_cont(2) WITHIN GROUP (ORDER BY e2e_ms) FROM requests
