-- What binding makes of names; the right side is the text of the bound tree.
# text: bind
SELECT DATE_TRUNC('hour', ts) AS ts, count(*) FROM requests WHERE ts >= '2026-10-06' GROUP BY 1;
SELECT DATE_TRUNC('HOUR', "requests"."ts") AS "ts", COUNT(*) AS "count" FROM "requests" AS "requests" WHERE "requests"."ts" >= '2026-10-06' GROUP BY DATE_TRUNC('HOUR', "requests"."ts");

# text: bind
SELECT Model AS M, sum(output_tokens) tok FROM requests R GROUP BY m ORDER BY TOK DESC;
SELECT "r"."model" AS "m", SUM("r"."output_tokens") AS "tok" FROM "requests" AS "r" GROUP BY "r"."model" ORDER BY 2 DESC;

# text: bind
SELECT upper(tenant) AS tenant, count(*) FROM requests GROUP BY tenant;
SELECT UPPER("requests"."tenant") AS "tenant", COUNT(*) AS "count" FROM "requests" AS "requests" GROUP BY "requests"."tenant";

# text: bind
SELECT count(*), count(*) FROM (SELECT tenant, status FROM requests) t;
SELECT COUNT(*) AS "count", COUNT(*) AS "count_2" FROM (SELECT "requests"."tenant" AS "tenant", "requests"."status" AS "status" FROM "requests" AS "requests") AS "t";

# text: bind
WITH a(x, y) AS (SELECT tenant, count(*) FROM requests GROUP BY 1) SELECT a.*, y + 1 FROM a ORDER BY x;
WITH "a"("x", "y") AS (SELECT "requests"."tenant" AS "tenant", COUNT(*) AS "count" FROM "requests" AS "requests" GROUP BY "requests"."tenant") SELECT "a"."x" AS "x", "a"."y" AS "y", "a"."y" + 1 AS "?column?" FROM "a" AS "a" ORDER BY 1;

# text: bind
SELECT 1 AS one, count(*) FROM requests GROUP BY one;
SELECT 1 AS "one", COUNT(*) AS "count" FROM "requests" AS "requests" GROUP BY CAST(1 AS BIGINT);
