-- Quotes, comments, escapes and other notations.

# either
SELECT U&'\0061'
SELECT count(*) FROM requests WHERE tenant = U&'\0062'
SELECT E'\x62'
SELECT count(*) FROM requests WHERE tenant = E'\x62'
SELECT count(*) FROM requests WHERE tenant = E'a\' OR 1=1 --'
SELECT count(*) FROM requests WHERE tenant = $$b$$
SELECT count(*) FROM requests WHERE tenant = $x$b'; DROP TABLE requests; --$x$
SELECT $$'$$ || tenant FROM requests GROUP BY 1
SELECT count(*) FROM requests WHERE tenant = B'1'
SELECT X'61'
SELECT count(*) FROM requests WHERE tenant = N'b'
SELECT "pg_catalog"."pg_read_file"('{canary}')
SELECT pg_catalog.lower('A')
SELECT main.read_text('{canary}')
SELECT 1 # 2
SELECT [tenant] FROM requests
SELECT count(*) FROM requests WHERE tenant SIMILAR TO 'b'
SELECT count(*) FROM requests WHERE tenant COLLATE "C" = 'b'
SELECT 1 OPERATOR(pg_catalog.+) 2
SELECT {{'a': 1}}
SELECT [1, 2]
SELECT MAP {{'a': 1}}
SELECT x -> x + 1
SELECT ?
SELECT $1
SELECT :tenant
SELECT @a
SELECT %s
SELECT {{{{ tenant }}}}
SELECT "read_text"('{canary}')
SELECT ROW(1, 2)
SELECT list_transform([1], x -> x)

# equal
SELECT count(*) FROM requests WHERE tenant = 'a\' OR tenant = 'b'
SELECT 'it''s; SELECT 1'
SELECT '; DROP TABLE requests; --'
SELECT "count"(*) FROM requests
SELECT 1 AS "x"" FROM '{canary}' --"
SELECT count(*) FROM requests AS "r"") --"
SELECT count(*) FROM requests AS "r' OR 1=1"
SELECT count(*) FROM requests WHERE model = 'x'' OR tenant = ''b'
SELECT 1 --' ; SELECT read_text('{canary}')
SELECT 1 /*' */ , '*/ FROM "{canary}"'
SELECT /*+ hint */ 1
SELECT tenant FROM requests WHERE tenant ~ 'b'
SELECT (1, 2)

# refused 42601
SELECT count(*) FROM U&"\0072equests"
SELECT `tenant` FROM requests
SELECT OPERATOR(pg_catalog.+) 1
SELECT #1

# refused 42703
SELECT "a"" FROM read_text('{canary}') --" FROM requests
