-- Hidden columns, wherever a name may stand.

# refused 0A000
SELECT * EXCLUDE (tenant) FROM requests
SELECT * REPLACE (user_hash AS tenant) FROM requests
SELECT COLUMNS('user.*') FROM requests
SELECT COLUMNS(*) FROM requests
SELECT (requests).user_hash FROM requests
SELECT unnest(requests) FROM requests
SELECT tableoid::regclass FROM requests
SELECT 'requests'::regclass
SELECT 'requests'::regclass::oid

# refused 42703
SELECT user_hash FROM requests
SELECT "user_hash" FROM requests
SELECT requests.user_hash FROM requests
SELECT r."user_hash" FROM requests r
SELECT USER_HASH FROM requests
SELECT cluster FROM requests
SELECT (SELECT max(user_hash) FROM requests)
SELECT count(DISTINCT user_hash) FROM requests
SELECT approx_count_distinct(user_hash) FROM requests
SELECT count(*) FROM requests GROUP BY user_hash
SELECT count(*) FROM requests GROUP BY ROLLUP (user_hash)
SELECT count(*) FROM requests GROUP BY GROUPING SETS ((user_hash))
SELECT 1 FROM requests ORDER BY user_hash
SELECT tenant FROM requests ORDER BY lower(user_hash)
SELECT count(*) FROM requests WHERE user_hash = 'u1'
SELECT count(*) FROM requests WHERE user_hash LIKE 'u1%'
SELECT count(*) FROM requests WHERE user_hash IS NULL
SELECT count(*) FROM requests WHERE length(user_hash) > 1
SELECT count(*) FROM requests HAVING min(user_hash) > 'a'
SELECT count(*) FILTER (WHERE user_hash > 'a') FROM requests
SELECT row_number() OVER (PARTITION BY user_hash) FROM requests
SELECT row_number() OVER (ORDER BY user_hash) FROM requests
SELECT row_number() OVER w FROM requests WINDOW w AS (ORDER BY user_hash)
SELECT count(*) FROM requests a JOIN requests b USING (user_hash)
SELECT count(*) FROM requests a JOIN requests b ON a.user_hash = b.user_hash
SELECT DISTINCT ON (user_hash) tenant FROM requests
SELECT CASE WHEN user_hash = 'u1' THEN 1 END FROM requests
SELECT coalesce(user_hash, 'x') FROM requests
SELECT user_hash FROM (SELECT * FROM requests) AS r
WITH r AS (SELECT * FROM requests) SELECT user_hash FROM r
SELECT requests FROM requests
SELECT vendor FROM hardware
SELECT max(h.vendor) FROM requests r JOIN hardware h USING (hardware)
SELECT vendor, count(*) FROM requests GROUP BY vendor
SELECT count(*) FROM requests WHERE vendor = 'nvidia'
SELECT ctid FROM requests
SELECT xmin FROM requests
SELECT tableoid FROM requests
SELECT rowid FROM requests

# refused 42P01
SELECT (SELECT r.user_hash) FROM requests r
SELECT count(*) FROM requests a WHERE EXISTS (SELECT 1 FROM samples s WHERE a.user_hash = s.host)
SELECT labels.x FROM requests
