-- Other tenants: every way to name a row that the policy takes away.

# either
SELECT count(*) FROM ONLY requests
SELECT count(*) FROM requests TABLESAMPLE SYSTEM (100)
WITH RECURSIVE r AS (SELECT tenant FROM requests UNION SELECT tenant FROM r) SELECT * FROM r
WITH r AS MATERIALIZED (SELECT tenant FROM requests) SELECT DISTINCT tenant FROM r
SELECT DISTINCT b.tenant FROM requests a NATURAL JOIN requests b
SELECT count(*) FROM requests a JOIN LATERAL (SELECT * FROM requests b WHERE b.tenant <> a.tenant) c ON true
SELECT count(*) FROM requests a, LATERAL (SELECT tenant FROM requests) c
SELECT string_agg(tenant, ',') FROM requests
SELECT array_agg(tenant) FROM requests
SELECT json_agg(r) FROM requests r
SELECT row_to_json(r) FROM requests r
SELECT to_jsonb(r.*) FROM requests r

# equal
SELECT count(*) FROM requests
SELECT DISTINCT tenant FROM requests
SELECT count(*) FROM requests WHERE tenant = 'b'
SELECT count(*) FROM requests WHERE tenant <> 'a'
SELECT count(*) FROM requests WHERE tenant = 'b' OR true
SELECT count(*) FROM requests WHERE NOT (tenant = 'a')
SELECT count(*) FROM requests WHERE (tenant = 'a') IS NOT TRUE
SELECT count(*) FROM requests WHERE tenant IS DISTINCT FROM 'a'
SELECT count(*) FROM requests -- WHERE tenant = 'a'
SELECT count(*) FROM requests /* WHERE tenant = 'a' */
SELECT count(*) FROM requests /* nested /* comment */ */ WHERE tenant = 'b'
SELECT count(*) FROM "requests"
SELECT count(*) FROM REQUESTS
SELECT count(*) FROM public.requests
SELECT count(*) FROM "public"."requests"
SELECT count(*) FROM requests *
SELECT count(*) FROM requests AS tenant
SELECT "tenant"."tenant" FROM requests AS tenant GROUP BY 1
SELECT count(*) FROM requests AS r (tenant, ts)
SELECT count(*) FROM (SELECT * FROM requests) AS r WHERE tenant = 'b'
SELECT count(*) FROM (SELECT 'a' AS tenant) AS requests
WITH requests AS (SELECT 'b' AS tenant) SELECT * FROM requests
WITH requests AS (SELECT * FROM requests) SELECT count(*) FROM requests WHERE tenant = 'b'
WITH a AS (SELECT * FROM requests), requests AS (SELECT * FROM a) SELECT DISTINCT tenant FROM requests
WITH samples AS (SELECT * FROM requests) SELECT DISTINCT tenant FROM samples
SELECT DISTINCT tenant FROM requests UNION SELECT DISTINCT tenant FROM requests WHERE tenant = 'c'
SELECT tenant FROM requests EXCEPT SELECT tenant FROM requests WHERE tenant = 'a'
SELECT tenant FROM requests INTERSECT SELECT tenant FROM requests WHERE tenant <> 'a'
(SELECT tenant FROM requests) UNION ALL (SELECT tenant FROM requests WHERE tenant = 'b')
SELECT count(*) FROM requests a JOIN requests b ON a.request_id = b.request_id WHERE b.tenant = 'b'
SELECT DISTINCT b.tenant FROM requests a LEFT JOIN requests b ON true
SELECT DISTINCT b.tenant FROM requests a LEFT JOIN requests b ON a.tenant <> b.tenant
SELECT DISTINCT a.tenant FROM requests a RIGHT JOIN requests b ON a.tenant <> b.tenant
SELECT DISTINCT a.tenant, b.tenant FROM requests a FULL JOIN requests b ON a.tenant = b.tenant
SELECT DISTINCT b.tenant FROM requests a CROSS JOIN requests b
SELECT DISTINCT b.tenant FROM requests a, requests b
SELECT DISTINCT b.tenant FROM requests a JOIN requests b USING (tenant)
SELECT (SELECT max(tenant) FROM requests)
SELECT (SELECT count(*) FROM requests WHERE tenant = 'b')
SELECT (SELECT max(b.tenant) FROM requests b WHERE b.model = a.model) FROM requests a GROUP BY a.model
SELECT count(*) FROM requests a WHERE EXISTS (SELECT 1 FROM requests b WHERE b.tenant = 'b')
SELECT count(*) FROM requests a WHERE NOT EXISTS (SELECT 1 FROM requests b WHERE b.tenant = 'b')
SELECT count(*) FROM samples WHERE 'b' IN (SELECT tenant FROM requests)
SELECT count(*) FROM samples WHERE 'b' = ANY (SELECT tenant FROM requests)
SELECT count(*) FROM samples WHERE 'b' > ALL (SELECT tenant FROM requests)
SELECT count(*) FILTER (WHERE tenant = 'b') FROM requests
SELECT sum(CASE WHEN tenant = 'b' THEN 1 ELSE 0 END) FROM requests
SELECT max(CASE WHEN tenant = 'b' THEN model END) FROM requests
SELECT tenant, count(*) FROM requests GROUP BY ROLLUP (tenant)
SELECT tenant, site, count(*) FROM requests GROUP BY CUBE (tenant, site)
SELECT site, count(*) FROM requests GROUP BY GROUPING SETS ((site), ())
SELECT count(*) FROM requests HAVING count(*) > 0
SELECT count(*) OVER () FROM requests LIMIT 1
SELECT DISTINCT first_value(tenant) OVER (ORDER BY tenant DESC) FROM requests
SELECT DISTINCT lag(tenant) OVER (ORDER BY tenant) FROM requests
SELECT rank() OVER (ORDER BY count(*)) FROM requests GROUP BY tenant
SELECT DISTINCT ON (tenant) tenant FROM requests ORDER BY tenant DESC
SELECT tenant FROM requests ORDER BY tenant DESC LIMIT 1
SELECT tenant FROM requests ORDER BY tenant OFFSET 150 LIMIT 1
SELECT count(DISTINCT tenant) FROM requests
SELECT approx_count_distinct(tenant) FROM requests
SELECT percentile_disc(1) WITHIN GROUP (ORDER BY e2e_ms) FROM requests
SELECT max(e2e_ms), min(e2e_ms), sum(output_tokens) FROM requests
SELECT MEASURE(requests) FROM serving
SELECT tenant, MEASURE(requests) FROM serving GROUP BY tenant
SELECT MEASURE(requests) FROM requests
SELECT MEASURE(errors) FROM serving WHERE tenant = 'b'
SELECT count(model) FROM serving
SELECT count(*) FROM samples WHERE site = 'us'
SELECT DISTINCT site FROM samples
SELECT DISTINCT s.site FROM requests r JOIN samples s ON r.ts = s.ts OR true
SELECT hardware FROM hardware WHERE hardware = 'h100'
SELECT count(h.hardware) FROM requests r LEFT JOIN hardware h ON r.hardware = h.hardware WHERE r.hardware = 'h100'
SELECT count(*) FROM requests r RIGHT JOIN hardware h ON r.hardware = h.hardware WHERE h.hardware = 'h100'
SELECT count(*) FROM requests WHERE CAST(tenant AS int) = 1 OR true
SELECT count(*) FROM requests WHERE 1 / (CASE WHEN tenant = 'b' THEN 0 ELSE 1 END) = 1
SELECT count(*) FROM requests WHERE CASE WHEN tenant = 'b' THEN CAST(model AS int) ELSE 0 END = 0
SELECT count(*) FROM requests WHERE sqrt(CASE WHEN tenant = 'c' THEN -1 ELSE 1 END) = 1
SELECT count(*) FROM requests WHERE CASE WHEN tenant = 'b' THEN CAST('x' AS date) ELSE date '2026-01-01' END IS NOT NULL
SELECT count(*) FROM (SELECT CASE WHEN tenant <> 'a' THEN CAST(model AS int) ELSE 0 END AS x FROM requests) r WHERE x = 0

# refused 42601
SELECT count(*) FROM requests WHERE tenant = 'a' OR 1 = 1) OR (1 = 1

# refused 42702
SELECT min(tenant) FROM requests AS r (ts, tenant)
SELECT DISTINCT tenant FROM requests a JOIN requests b USING (model)

# refused 42703
SELECT r FROM requests r

# refused 42P01
SELECT count(*) FROM "Requests"
SELECT count(*) FROM fleet.public.requests
SELECT count(*) FROM "cubes/serving"
SELECT count(*) FROM cubes.serving
SELECT count(*) FROM landing.requests
SELECT count(*) FROM trusted.requests
SELECT count(*) FROM quarantine
SELECT count(*) FROM batches
SELECT count(*) FROM ledger
SELECT count(*) FROM holds
SELECT count(*) FROM evaluations
SELECT count(*) FROM events
SELECT count(*) FROM aliases
SELECT count(*) FROM roster
