-- Files of the host and of the lake: reading, listing and writing them.

# refused 0A000
SELECT * FROM read_csv('{canary}')
SELECT * FROM read_csv_auto('{canary}')
SELECT * FROM read_text('{canary}')
SELECT * FROM read_blob('{canary}')
SELECT * FROM read_json('{canary}')
SELECT * FROM read_json_auto('{canary}')
SELECT * FROM read_ndjson('{canary}')
SELECT * FROM read_parquet('{canary}')
SELECT * FROM parquet_scan('{canary}')
SELECT * FROM parquet_metadata('{canary}')
SELECT * FROM parquet_schema('{canary}')
SELECT * FROM parquet_file_metadata('{canary}')
SELECT * FROM parquet_kv_metadata('{canary}')
SELECT * FROM sniff_csv('{canary}')
SELECT * FROM delta_scan('{lake}/trusted/requests')
SELECT * FROM iceberg_scan('{canary}')
SELECT * FROM sqlite_scan('{canary}', 't')
SELECT * FROM postgres_scan('host=127.0.0.1', 'public', 't')
SELECT * FROM mysql_scan('a', 'b', 'c')
SELECT * FROM st_read('{canary}')
SELECT * FROM read_xlsx('{canary}')
SELECT * FROM read_duckdb('{canary}')
SELECT count(*) FROM requests JOIN read_csv('{canary}') AS c ON true
SELECT count(*) FROM requests CROSS JOIN LATERAL read_text('{canary}') AS c
SELECT (SELECT content FROM read_text('{canary}'))
SELECT (SELECT max(column0) FROM read_csv('{canary}')) FROM requests
SELECT count(*) FROM requests WHERE model IN (SELECT content FROM read_text('{canary}'))
SELECT count(*) FROM requests WHERE EXISTS (SELECT 1 FROM read_csv('{canary}'))
WITH c AS (SELECT * FROM read_text('{canary}')) SELECT * FROM c
SELECT model FROM requests UNION ALL SELECT content FROM read_text('{canary}')
SELECT content FROM read_text(['{canary}'])
SELECT * FROM pg_ls_dir('/')
SELECT * FROM pg_ls_logdir()
SELECT * INTO t FROM requests
FROM read_csv('{canary}')
SELECT COLUMNS('.*') FROM '{canary}'
SELECT * FROM which_secret('s3://a', 's3')
SELECT * FROM test_all_types()
SELECT * FROM seq_scan('requests')

# refused 25006
COPY requests TO '{target}'
COPY (SELECT * FROM requests) TO '{target}' (FORMAT csv)
COPY (SELECT * FROM requests) TO '{target}' (FORMAT parquet)
COPY requests FROM '{canary}'
COPY requests FROM PROGRAM 'touch {target}'
COPY (SELECT 1) TO PROGRAM 'touch {target}'
CREATE TABLE t AS SELECT * FROM read_csv('{canary}')
INSERT INTO requests SELECT * FROM read_csv('{canary}')
DESCRIBE SELECT * FROM '{canary}'
DESCRIBE '{canary}'
PIVOT '{canary}' ON a USING sum(b)

# refused 42601
SELECT * FROM glob('/**')
SELECT * FROM glob('{lake}/**')
SELECT xmlparse(document '<!DOCTYPE a [<!ENTITY x SYSTEM "file://{canary}">]><a>&x;</a>')
COPY requests TO STDOUT; COPY requests TO '{target}'
EXPORT DATABASE '{target}'
IMPORT DATABASE '{target}'
SELECT * INTO OUTFILE '{target}' FROM requests
SUMMARIZE '{canary}'
TABLE '{canary}'

# refused 42703
SELECT filename FROM requests
SELECT file_row_number FROM requests

# refused 42883
SELECT read_text('{canary}')
SELECT pg_read_file('{canary}')
SELECT pg_read_binary_file('{canary}')
SELECT pg_ls_dir('/')
SELECT pg_stat_file('{canary}')
SELECT lo_import('{canary}')
SELECT lo_export(1, '{canary}')
SELECT lo_get(1)
SELECT query_to_xml('SELECT 1', true, true, '')
SELECT write_log('x')
SELECT nextval('a')

# refused 42P01
SELECT * FROM '{canary}'
SELECT * FROM "{canary}"
SELECT * FROM "{lake}/_secrets/users.json"
SELECT * FROM '{lake}/_secrets/users.json'
SELECT * FROM "public"."{canary}"
SELECT count(*) FROM requests, '{canary}'
SELECT count(*) FROM requests JOIN "{canary}" ON true
FROM '{canary}'
