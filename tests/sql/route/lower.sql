-- PostgreSQL's arithmetic in the engine's words; the right side is the engine's text.
# text: lower
SELECT avg(e2e_ms), avg(prompt_tokens) FILTER (WHERE status = 'ok') FROM requests;
SELECT FC_AVG(SUM("requests"."e2e_ms"), COUNT("requests"."e2e_ms")) AS "avg", FC_AVG(SUM("requests"."prompt_tokens") FILTER(WHERE "requests"."status" = 'ok'), COUNT("requests"."prompt_tokens") FILTER(WHERE "requests"."status" = 'ok')) AS "avg_2" FROM "requests" AS "requests";

# text: lower
SELECT sum(output_tokens) / count(*), 1.0 * count(*) / sum(output_tokens) FROM requests;
SELECT (CAST(SUM("requests"."output_tokens") AS BIGINT) // COUNT(*)) AS "?column?", FC_DIVIDE(1.0 * COUNT(*), CAST(SUM("requests"."output_tokens") AS BIGINT)) AS "?column?_2" FROM "requests" AS "requests";

# text: lower
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY e2e_ms) FILTER (WHERE status = 'ok') FROM requests;
SELECT QUANTILE_DISC(CAST("requests"."e2e_ms" AS DOUBLE), 0.5) FILTER(WHERE "requests"."status" = 'ok') AS "percentile_disc" FROM "requests" AS "requests";

# text: lower
SELECT count(*) FROM requests WHERE model LIKE 'qwen\_%' AND CAST(prompt_tokens AS NUMERIC) > 1;
SELECT COUNT(*) AS "count" FROM "requests" AS "requests" WHERE "requests"."model" LIKE 'qwen\_%' ESCAPE '\' AND CAST("requests"."prompt_tokens" AS DECIMAL(38, 9)) > 1;

# text: lower
SELECT date_bin('15 minutes', ts, TIMESTAMP '2001-01-01') AS t FROM requests;
SELECT TIME_BUCKET(CAST('15 minutes' AS INTERVAL), "requests"."ts", CAST(CAST('2001-01-01' AS TIMESTAMP) AS TIMESTAMPTZ)) AS "t" FROM "requests" AS "requests";

-- Texts and short units as PostgreSQL has them.
# cuboid: status
SELECT date_bin('1 hr', ts, '2000-01-01') AS t, count(*) AS n FROM requests GROUP BY 1;
SELECT date_trunc('hour', ts) AS t, count(*) AS n FROM requests GROUP BY 1;

# pieces: 5m
SELECT count(*) AS n FROM requests WHERE ts >= TIMESTAMPTZ '2026-10-06 02:00' AND ts < TIMESTAMPTZ '2026-10-06 02:00' + INTERVAL '10 mins';
SELECT count(*) AS n FROM requests WHERE ts >= '2026-10-06 02:00' AND ts < '2026-10-06 02:10';

-- A format of to_char means in the engine what it means in PostgreSQL; cells answer what is constant in their buckets.
# pieces: 1d
SELECT to_char(ts, 'Mon YYYY') AS t, count(*) AS n FROM requests GROUP BY 1;
SELECT 'Oct 2026' AS t, count(*) AS n FROM requests;

# text: lower
SELECT to_char(ts, 'IYYY-"W"IW, FMDay HH12 AM') AS t FROM requests;
SELECT STRFTIME("requests"."ts", '%G-W%V, %A %I %p') AS "t" FROM "requests" AS "requests";
