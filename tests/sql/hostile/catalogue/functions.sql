-- Functions of the engine that no tool asks the catalogue for; each beside a system table, or alone.

# refused 42883
SELECT repeat('x', 1000000000) FROM pg_class
SELECT pg_catalog.repeat('x', 1000000000) FROM pg_class
SELECT lpad('x', 1000000000) FROM pg_class
SELECT rpad('x', 1000000000, 'y') FROM pg_class
SELECT range(1000000000) FROM pg_class
SELECT unnest(range(1000000000)) FROM pg_class
SELECT list_resize([1], 1000000000) FROM pg_class
SELECT array_fill(1, ARRAY[1000000000]) FROM pg_class
SELECT bar(1, 0, 2, 1000000000) FROM pg_class
SELECT printf('%1000000000d', 1) FROM pg_class
SELECT regexp_replace(relname, '(a+)+$', 'b') FROM pg_class
SELECT regexp_split_to_array(relname, 'a') FROM pg_class
SELECT string_to_array(relname, 'a') FROM pg_class
SELECT md5(relname) FROM pg_class
SELECT sha256(relname) FROM pg_class
SELECT hash(relname) FROM pg_class
SELECT encode(relname, 'hex') FROM pg_class
SELECT getvariable('secret') FROM pg_class
SELECT getenv('HOME') FROM pg_class
SELECT current_query() FROM pg_class
SELECT write_log('x') FROM pg_class
SELECT txid_current() FROM pg_class
SELECT nextval('s') FROM pg_class
SELECT setseed(0.5) FROM pg_class
SELECT random() FROM pg_class
SELECT uuid() FROM pg_class
SELECT gen_random_uuid() FROM pg_class
SELECT pg_sleep(100) FROM pg_class
SELECT pg_read_file('/etc/passwd') FROM pg_class
SELECT pg_ls_dir('/') FROM pg_class
SELECT lo_import('/etc/passwd') FROM pg_class
SELECT set_config('search_path', 'x', false) FROM pg_class
SELECT dblink('host=127.0.0.1', 'SELECT 1') FROM pg_class
SELECT query('SELECT 1') FROM pg_class
SELECT query_to_xml('SELECT 1', true, true, '') FROM pg_class
SELECT histogram(relname) FROM pg_class
SELECT approx_quantile(oid, 0.5) FROM pg_class
SELECT list(relname) FROM pg_class
SELECT arg_max(relname, oid) FROM pg_class
SELECT struct_pack(a := 1) FROM pg_class
SELECT {'a': 1} FROM pg_class
SELECT map(['a'], [1]) FROM pg_class
SELECT to_json(relname) FROM pg_class
SELECT json_execute_serialized_sql('x') FROM pg_class
SELECT json_serialize_sql('SELECT 1') FROM pg_class
SELECT stats(relname) FROM pg_class
SELECT alias(relname) FROM pg_class
SELECT typeof(relname) FROM pg_class
SELECT vector_type(relname) FROM pg_class
SELECT can_cast_implicitly(relname, 1) FROM pg_class
SELECT add_parquet_key('a', 'b') FROM pg_class
SELECT icu_sort_key(relname, 'de') FROM pg_class
SELECT fc_avg(1, 2) FROM pg_class
SELECT fc_pg_get_userbyid(1) FROM pg_class
SELECT avg_of_nothing(1) FROM pg_class
SELECT version(), repeat('x', 10)
SELECT 1 WHERE repeat('x', 10) = 'x'
SELECT CASE WHEN true THEN 1 ELSE length(repeat('x', 1000000000)) END FROM pg_class
SELECT (SELECT max(repeat(a.relname, 1000)) FROM pg_class a) FROM pg_class
WITH a AS (SELECT repeat('x', 10) AS r FROM pg_class) SELECT r FROM a

# refused 42601
SELECT list_transform([1, 2], lambda x: x + 1) FROM pg_class
SELECT list_reduce([1, 2], lambda x, y: x + y) FROM pg_class

# refused 3F000
SELECT system.main.repeat('x', 10) FROM pg_class
SELECT main.repeat('x', 10) FROM pg_class
SELECT memory.main.getenv('HOME') FROM pg_class

# refused 0A000
SELECT generate_series(1, 1000000000) FROM pg_class
SELECT generate_series(oid, 1000000000) FROM pg_class
SELECT generate_series(1, 100, 1) FROM pg_class
SELECT generate_series(1, (SELECT max(oid) FROM pg_class)) FROM pg_class
SELECT format('{:>1000000000}', 'x') FROM pg_class
SELECT format('%1000000000s', 'x') FROM pg_class
SELECT pg_catalog.format(relname, 'x') FROM pg_class
SELECT replace(relname, 'a', relname) FROM pg_class
SELECT replace(replace('aaaa', 'a', 'bbbbbbbbbb'), 'b', 'aaaaaaaaaa') FROM pg_class
SELECT to_char(now(), 'TMMonth "') FROM pg_class
SELECT CAST(relname AS BLOB) FROM pg_class
SELECT relname::xml FROM pg_class
SELECT CAST('1' AS BIT) FROM pg_class
SELECT [x for x in [1, 2]] FROM pg_class
SELECT current_setting(relname) FROM pg_class

# refused 42704
SELECT current_setting('memory_limit') FROM pg_class
SELECT current_setting('secret_directory') FROM pg_class
SELECT current_setting('temp_directory')
