"""The SQL endpoint: facts and lookups served over the PostgreSQL wire protocol.

`server` listens, `connection` is one client, `desk` answers one statement, `pg_catalog` answers what tools ask about
tables, `pgwire` and `pg_types` are the bytes.
"""
