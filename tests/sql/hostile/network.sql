-- The network, other databases, extensions and secrets.

# refused 0A000
SELECT * FROM read_csv('http://127.0.0.1:{port}/a.csv')
SELECT * FROM read_parquet('http://127.0.0.1:{port}/a.parquet')
SELECT * FROM read_parquet('s3://bucket/a.parquet')
SELECT * FROM read_json('https://127.0.0.1:{port}/a.json')
SELECT * FROM read_text('http://169.254.169.254/latest/meta-data')
SELECT * FROM http_get('http://127.0.0.1:{port}/')
SELECT * FROM http_post('http://127.0.0.1:{port}/', '{{}}')
SELECT * FROM duckdb_secrets()
SELECT * FROM dblink('host=127.0.0.1 port={port}', 'SELECT 1') AS t(a int)
SELECT * FROM read_csv('ftp://127.0.0.1:{port}/a')
SELECT * FROM read_csv('file://{canary}')
SELECT * FROM read_csv('\\127.0.0.1\a\b.csv')

# refused 25006
DETACH memory
USE memory
CREATE PERSISTENT SECRET x (TYPE http)
DROP SECRET x
INSTALL httpfs
LOAD httpfs
LOAD '{canary}'
UPDATE EXTENSIONS
LISTEN a

# refused 42601
ATTACH 'http://127.0.0.1:{port}/a.db' AS a
ATTACH 'host=127.0.0.1 port={port}' AS a (TYPE postgres)
ATTACH '{canary}' AS a
ATTACH ':memory:' AS a
ATTACH DATABASE '{lake}/x.db'
CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')
INSTALL httpfs FROM 'http://127.0.0.1:{port}'
FORCE INSTALL httpfs FROM community
NOTIFY a, 'b'

# refused 42883
SELECT http_get('http://127.0.0.1:{port}/')
SELECT dblink('host=127.0.0.1 port={port}', 'SELECT 1')
SELECT dblink_connect('host=127.0.0.1 port={port}')
SELECT pg_notify('a', 'b')
SELECT inet_server_addr()
SELECT inet_client_addr()

# refused 42P01
SELECT * FROM 'http://127.0.0.1:{port}/a.csv'
SELECT * FROM "http://127.0.0.1:{port}/a.parquet"
SELECT * FROM 'hf://datasets/a/b.parquet'
SELECT * FROM 'gcs://bucket/a.csv'
