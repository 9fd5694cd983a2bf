-- The engine's own words: settings, catalogue, macros, statements that are no read.

# refused 0A000
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_tables()
SELECT * FROM duckdb_columns()
SELECT * FROM duckdb_functions()
SELECT * FROM duckdb_databases()
SELECT * FROM duckdb_extensions()
SELECT * FROM duckdb_memory()
SELECT * FROM duckdb_temporary_files()
SELECT * FROM duckdb_views()
SELECT * FROM duckdb_optimizers()
SELECT * FROM pragma_database_list()
SELECT * FROM pragma_table_info('requests')
SELECT * FROM query('SELECT * FROM requests')
SELECT * FROM query_table('requests')
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
SELECT version()
WITH d AS (DELETE FROM requests RETURNING *) SELECT * FROM d
WITH d AS (INSERT INTO requests (tenant) VALUES ('a') RETURNING 1) SELECT * FROM d
SELECT * FROM requests FOR UPDATE
SELECT * FROM (DESCRIBE requests)
SELECT * FROM (SHOW TABLES)

# refused 25006
PRAGMA database_list
PRAGMA show_tables
PRAGMA enable_profiling
PRAGMA version
PRAGMA table_info('requests')
PRAGMA memory_limit='100GB'
SET memory_limit = '100GB'
SET threads = 64
SET enable_external_access = true
SET lock_configuration = false
SET GLOBAL allowed_directories = ['/']
SET temp_directory = '/'
SET secret_directory = '/'
SET custom_extension_repository = 'http://127.0.0.1:{port}'
RESET lock_configuration
CALL pragma_version()
CALL dbgen(sf = 100)
CHECKPOINT
FORCE CHECKPOINT
VACUUM
ANALYZE
EXPLAIN ANALYZE SELECT * FROM requests
EXPLAIN SELECT * FROM read_csv('{canary}')
PREPARE a AS SELECT * FROM read_csv('{canary}')
EXECUTE a
DEALLOCATE a
CREATE MACRO m() AS 1
CREATE OR REPLACE MACRO fc_avg(a, b) AS 1
CREATE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE sql
CREATE FUNCTION f() RETURNS int AS '/tmp/x.so' LANGUAGE c
CREATE TEMP TABLE t (a int)
CREATE VIEW v AS SELECT * FROM requests
CREATE SCHEMA s
CREATE SEQUENCE s
CREATE TYPE t AS ENUM ('a')
DROP TABLE requests
ALTER TABLE requests ADD COLUMN a int
TRUNCATE requests
DELETE FROM requests
UPDATE requests SET tenant = 'a'
INSERT INTO requests (tenant) VALUES ('a')
MERGE INTO requests USING hardware ON true WHEN MATCHED THEN DELETE
GRANT ALL ON requests TO ada
REVOKE ALL ON requests FROM boss
CREATE ROLE boss SUPERUSER
ALTER ROLE ada SUPERUSER
SET ROLE boss
SET SESSION AUTHORIZATION boss
RESET ROLE
DO 'BEGIN END'
COMMENT ON TABLE requests IS 'x'
LOCK TABLE requests
SHOW ALL TABLES
SHOW DATABASES
SET row_security = off

# refused 42601
BEGIN; SELECT 1
SELECT 1; SELECT 2
SELECT 1; DROP TABLE requests
SELECT 1; SET lock_configuration = false

# refused 42883
SELECT getenv('HOME')
SELECT getvariable('a')
SELECT current_setting('lock_configuration')
SELECT current_setting('secret_directory')
SELECT json_serialize_sql('SELECT 1')
SELECT in_search_path('a', 'b')
SELECT txid_current()
SELECT pg_backend_pid()
SELECT pg_terminate_backend(1)
SELECT pg_cancel_backend(1)
SELECT pg_reload_conf()
SELECT set_config('a', 'b', false)
SELECT pg_sleep(10)
SELECT sleep(10)
SELECT sleep_ms(10000)
SELECT error('x')
SELECT fc_avg(1, 2)
SELECT fc_divide(1, 0)
SELECT row_security_active('requests')
SELECT has_table_privilege('boss', 'requests', 'select')

# refused 42939
SELECT * FROM fc_merged
SELECT fc_policy FROM requests
SELECT * FROM fc_policy_requests
WITH fc_policy AS (SELECT 1 AS a) SELECT * FROM requests

# refused 42P01
SELECT * FROM duckdb_logs
SELECT * FROM information_schema.tables
SELECT * FROM main.requests
SELECT * FROM memory.main.requests
SELECT * FROM system.main.duckdb_settings
SELECT * FROM temp.requests
SELECT * FROM sqlite_master
SELECT * FROM pg_catalog.pg_authid
