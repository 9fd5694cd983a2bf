-- What may stand for a table beside a system table, and statements and clauses that are no plain read.

# refused 0A000
SELECT * FROM pg_class, read_csv('/etc/passwd')
SELECT * FROM pg_class, read_text('/etc/passwd')
SELECT * FROM pg_class, read_blob('/etc/passwd')
SELECT * FROM pg_class, read_parquet('/tmp/*.parquet')
SELECT * FROM pg_class, read_json('/etc/passwd')
SELECT * FROM pg_class JOIN parquet_scan('/tmp/x') p ON true
SELECT * FROM pg_class, sniff_csv('/etc/passwd')
SELECT * FROM pg_class, range(1000000000000)
SELECT * FROM pg_class, repeat_row(1, num_rows = 1000000000)
SELECT * FROM pg_class, pragma_version()
SELECT * FROM pg_class, pragma_database_size()
SELECT * FROM pg_class, pragma_table_info('fc_pg_class')
SELECT * FROM pg_class, duckdb_settings()
SELECT * FROM pg_class, duckdb_secrets()
SELECT * FROM pg_class, duckdb_logs()
SELECT * FROM pg_class, duckdb_extensions()
SELECT * FROM pg_class, query('SELECT 1')
SELECT * FROM pg_class, query_table('fc_pg_class')
SELECT * FROM pg_class, json_execute_serialized_sql('x')
SELECT * FROM pg_class, test_all_types()
SELECT * FROM pg_class, summary(pg_class)
SELECT * FROM pg_class, requests
SELECT * FROM pg_class, generate_series(1, 1000000000000)
SELECT * FROM pg_class, generate_series(1, 10, 2)
SELECT * FROM pg_class, pg_catalog.generate_series(-1000000000, 1000000000)
SELECT * FROM pg_class TABLESAMPLE SYSTEM (10)
SELECT * FROM pg_class FOR UPDATE
SELECT * INTO t FROM pg_class
SELECT * FROM pg_class, LATERAL (SELECT 1) x
SELECT relname FROM pg_class QUALIFY row_number() OVER () = 1
SELECT * EXCLUDE (oid) FROM pg_class
SELECT * REPLACE (1 AS oid) FROM pg_class
WITH d AS (DELETE FROM pg_class RETURNING *) SELECT * FROM d
WITH d AS (INSERT INTO pg_class (relname) VALUES ('x') RETURNING 1) SELECT * FROM d
WITH d AS (UPDATE pg_class SET relname = 'x' RETURNING 1) SELECT * FROM d
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t, pg_class
WITH RECURSIVE t(n) AS (SELECT oid FROM pg_class UNION ALL SELECT n FROM t) SELECT count(*) FROM t
SELECT * FROM (PIVOT pg_class ON relkind USING count(*))
SELECT * FROM (DESCRIBE pg_class)

# refused 42P01
SELECT * FROM pg_class, pg_catalog.given_types
SELECT * FROM pg_catalog.duckdb_tables
SELECT * FROM information_schema.duckdb_settings
SELECT * FROM pg_catalog."/etc/passwd"
SELECT * FROM pg_shadow
SELECT * FROM pg_authid
SELECT * FROM pg_user_mapping
SELECT * FROM pg_hba_file_rules
SELECT * FROM pg_file_settings

# refused 25006
DELETE FROM pg_class
UPDATE pg_class SET relname = 'x'
INSERT INTO pg_class (relname) VALUES ('x')
DROP TABLE pg_class
CREATE TABLE pg_x AS SELECT * FROM pg_class
TRUNCATE pg_class

# refused 54001
SELECT ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) FROM pg_class

# refused 53400
SELECT a.*, b.* FROM pg_attribute a, pg_attribute b, pg_attribute c
SELECT * FROM pg_attribute a CROSS JOIN pg_attribute b CROSS JOIN generate_series(1, 1000) s

# refused 53200
SELECT string_agg(a.attname, ',') FROM pg_attribute a, pg_attribute b, pg_attribute c, pg_attribute d
SELECT array_agg(a.attname) FROM pg_attribute a, pg_attribute b, pg_attribute c
SELECT a.attname FROM pg_attribute a, pg_attribute b, pg_attribute c ORDER BY b.attname || c.attname || a.attname
SELECT DISTINCT a.attname || b.attname || c.attname || d.attname FROM pg_attribute a, pg_attribute b, pg_attribute c, pg_attribute d
