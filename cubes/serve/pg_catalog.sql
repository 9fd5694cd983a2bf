-- PostgreSQL's catalogue as plain tables, so that what tools ask is answered by real rows, and by none where there is
-- nothing of the kind (no indexes, no policies). Names begin with fc_ because DuckDB has a pg_catalog of its own.
-- Macros replace their arguments as text, so inner aliases have names that no caller uses.

CREATE TABLE fc_pg_namespace (oid BIGINT, nspname VARCHAR, nspowner BIGINT, nspacl VARCHAR[]);
CREATE TABLE fc_pg_class (
    oid BIGINT, relname VARCHAR, relnamespace BIGINT, reltype BIGINT, reloftype BIGINT, relowner BIGINT, relam BIGINT,
    relfilenode BIGINT, reltablespace BIGINT, relpages INTEGER, reltuples REAL, relallvisible INTEGER, reltoastrelid BIGINT,
    relhasindex BOOLEAN, relisshared BOOLEAN, relpersistence VARCHAR, relkind VARCHAR, relnatts SMALLINT, relchecks SMALLINT,
    relhasrules BOOLEAN, relhastriggers BOOLEAN, relhassubclass BOOLEAN, relrowsecurity BOOLEAN, relforcerowsecurity BOOLEAN,
    relispopulated BOOLEAN, relreplident VARCHAR, relispartition BOOLEAN, relrewrite BIGINT, relacl VARCHAR[],
    reloptions VARCHAR[], relpartbound VARCHAR);
CREATE TABLE fc_pg_attribute (
    attrelid BIGINT, attname VARCHAR, atttypid BIGINT, attstattarget INTEGER, attlen SMALLINT, attnum SMALLINT, attndims INTEGER,
    atttypmod INTEGER, attbyval BOOLEAN, attstorage VARCHAR, attalign VARCHAR, attnotnull BOOLEAN, atthasdef BOOLEAN,
    atthasmissing BOOLEAN, attidentity VARCHAR, attgenerated VARCHAR, attisdropped BOOLEAN, attislocal BOOLEAN,
    attinhcount INTEGER, attcollation BIGINT, attcompression VARCHAR, attacl VARCHAR[], attoptions VARCHAR[],
    attfdwoptions VARCHAR[]);
CREATE TABLE fc_pg_type (
    oid BIGINT, typname VARCHAR, typnamespace BIGINT, typowner BIGINT, typlen SMALLINT, typbyval BOOLEAN, typtype VARCHAR,
    typcategory VARCHAR, typispreferred BOOLEAN, typisdefined BOOLEAN, typdelim VARCHAR, typrelid BIGINT, typelem BIGINT,
    typarray BIGINT, typinput VARCHAR, typnotnull BOOLEAN, typbasetype BIGINT, typtypmod INTEGER, typndims INTEGER,
    typcollation BIGINT, typdefault VARCHAR, typacl VARCHAR[], fc_title VARCHAR);
CREATE TABLE fc_pg_description (objoid BIGINT, classoid BIGINT, objsubid INTEGER, description VARCHAR);
CREATE TABLE fc_pg_shdescription (objoid BIGINT, classoid BIGINT, description VARCHAR);
CREATE TABLE fc_pg_am (oid BIGINT, amname VARCHAR, amhandler BIGINT, amtype VARCHAR);
CREATE TABLE fc_pg_attrdef (oid BIGINT, adrelid BIGINT, adnum SMALLINT, adbin VARCHAR);
CREATE TABLE fc_pg_index (
    indexrelid BIGINT, indrelid BIGINT, indnatts SMALLINT, indnkeyatts SMALLINT, indisunique BOOLEAN, indisprimary BOOLEAN,
    indisexclusion BOOLEAN, indimmediate BOOLEAN, indisclustered BOOLEAN, indisvalid BOOLEAN, indisreplident BOOLEAN,
    indnullsnotdistinct BOOLEAN, indkey SMALLINT[], indclass BIGINT[], indoption SMALLINT[], indexprs VARCHAR, indpred VARCHAR);
CREATE TABLE fc_pg_constraint (
    oid BIGINT, conname VARCHAR, connamespace BIGINT, contype VARCHAR, condeferrable BOOLEAN, condeferred BOOLEAN,
    convalidated BOOLEAN, conrelid BIGINT, contypid BIGINT, conindid BIGINT, conparentid BIGINT, confrelid BIGINT,
    confupdtype VARCHAR, confdeltype VARCHAR, confmatchtype VARCHAR, conkey SMALLINT[], confkey SMALLINT[]);
CREATE TABLE fc_pg_inherits (inhrelid BIGINT, inhparent BIGINT, inhseqno INTEGER, inhdetachpending BOOLEAN);
CREATE TABLE fc_pg_collation (oid BIGINT, collname VARCHAR, collnamespace BIGINT);
CREATE TABLE fc_pg_policy (
    oid BIGINT, polname VARCHAR, polrelid BIGINT, polcmd VARCHAR, polpermissive BOOLEAN, polroles BIGINT[], polqual VARCHAR,
    polwithcheck VARCHAR);
CREATE TABLE fc_pg_statistic_ext (
    oid BIGINT, stxrelid BIGINT, stxname VARCHAR, stxnamespace BIGINT, stxkeys SMALLINT[], stxkind VARCHAR[],
    stxstattarget INTEGER);
CREATE TABLE fc_pg_publication (
    oid BIGINT, pubname VARCHAR, pubowner BIGINT, puballtables BOOLEAN, pubinsert BOOLEAN, pubupdate BOOLEAN,
    pubdelete BOOLEAN, pubtruncate BOOLEAN, pubviaroot BOOLEAN);
CREATE TABLE fc_pg_publication_rel (oid BIGINT, prpubid BIGINT, prrelid BIGINT);
CREATE TABLE fc_pg_trigger (oid BIGINT, tgrelid BIGINT, tgname VARCHAR, tgisinternal BOOLEAN, tgenabled VARCHAR, tgparentid BIGINT);
CREATE TABLE fc_pg_rewrite (oid BIGINT, rulename VARCHAR, ev_class BIGINT, ev_enabled VARCHAR);
CREATE TABLE fc_pg_foreign_table (ftrelid BIGINT, ftserver BIGINT, ftoptions VARCHAR[]);
CREATE TABLE fc_pg_foreign_server (oid BIGINT, srvname VARCHAR);
CREATE TABLE fc_pg_enum (oid BIGINT, enumtypid BIGINT, enumsortorder REAL, enumlabel VARCHAR);
CREATE TABLE fc_pg_range (rngtypid BIGINT, rngsubtype BIGINT);
CREATE TABLE fc_pg_sequence (
    seqrelid BIGINT, seqtypid BIGINT, seqstart BIGINT, seqincrement BIGINT, seqmax BIGINT, seqmin BIGINT, seqcache BIGINT,
    seqcycle BOOLEAN);
CREATE TABLE fc_pg_extension (oid BIGINT, extname VARCHAR, extversion VARCHAR, extnamespace BIGINT);
CREATE TABLE fc_pg_proc (
    oid BIGINT, proname VARCHAR, pronamespace BIGINT, proowner BIGINT, prolang BIGINT, prokind VARCHAR, prorettype BIGINT,
    provolatile VARCHAR, proparallel VARCHAR, prosecdef BOOLEAN, proacl VARCHAR[], prosrc VARCHAR, prosqlbody VARCHAR,
    pronargs SMALLINT, proargtypes BIGINT[]);
CREATE TABLE fc_pg_database (
    oid BIGINT, datname VARCHAR, datdba BIGINT, encoding INTEGER, datcollate VARCHAR, datctype VARCHAR, datistemplate BOOLEAN,
    datallowconn BOOLEAN, datconnlimit INTEGER, dattablespace BIGINT, datacl VARCHAR[], datlocprovider VARCHAR,
    daticulocale VARCHAR);
CREATE TABLE fc_pg_roles (
    oid BIGINT, rolname VARCHAR, rolsuper BOOLEAN, rolinherit BOOLEAN, rolcreaterole BOOLEAN, rolcreatedb BOOLEAN,
    rolcanlogin BOOLEAN, rolreplication BOOLEAN, rolconnlimit INTEGER, rolvaliduntil VARCHAR, rolbypassrls BOOLEAN);
CREATE TABLE fc_pg_auth_members (roleid BIGINT, member BIGINT);
CREATE TABLE fc_pg_opclass (
    oid BIGINT, opcmethod BIGINT, opcname VARCHAR, opcnamespace BIGINT, opcintype BIGINT, opcdefault BOOLEAN, opckeytype BIGINT);
CREATE TABLE fc_pg_settings (name VARCHAR, setting VARCHAR, unit VARCHAR, category VARCHAR, short_desc VARCHAR, context VARCHAR);
CREATE TABLE fc_pg_locks (locktype VARCHAR, database BIGINT, relation BIGINT, pid INTEGER, mode VARCHAR, granted BOOLEAN);
CREATE TABLE fc_pg_partitioned_table (partrelid BIGINT, partstrat VARCHAR, partnatts SMALLINT, partattrs SMALLINT[]);
CREATE TABLE fc_pg_matviews (schemaname VARCHAR, matviewname VARCHAR, definition VARCHAR);
CREATE TABLE fc_pg_depend (
    classid BIGINT, objid BIGINT, objsubid INTEGER, refclassid BIGINT, refobjid BIGINT, refobjsubid INTEGER, deptype VARCHAR);
CREATE TABLE fc_pg_language (
    oid BIGINT, tableoid BIGINT, lanname VARCHAR, lanowner BIGINT, lanpltrusted BOOLEAN, lanplcallfoid BIGINT);
CREATE TABLE fc_pg_tablespace (
    oid BIGINT, spcname VARCHAR, spcowner BIGINT, spcacl VARCHAR[], spcoptions VARCHAR[]);

CREATE TABLE fc_is_tables (
    table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, table_type VARCHAR, is_insertable_into VARCHAR);
CREATE TABLE fc_is_views (table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, view_definition VARCHAR);
CREATE TABLE fc_is_schemata (catalog_name VARCHAR, schema_name VARCHAR, schema_owner VARCHAR);
CREATE TABLE fc_is_columns (
    table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, column_name VARCHAR, ordinal_position INTEGER,
    column_default VARCHAR, is_nullable VARCHAR, data_type VARCHAR, udt_name VARCHAR, numeric_precision INTEGER,
    numeric_scale INTEGER, datetime_precision INTEGER, character_maximum_length INTEGER);
CREATE TABLE fc_is_table_constraints (table_schema VARCHAR, table_name VARCHAR, constraint_name VARCHAR, constraint_type VARCHAR);
CREATE TABLE fc_is_key_column_usage (
    table_schema VARCHAR, table_name VARCHAR, constraint_name VARCHAR, column_name VARCHAR, ordinal_position INTEGER);

CREATE MACRO fc_nonzero(fc_d) AS CASE WHEN fc_d = 0 THEN error('division by zero') ELSE fc_d END;
CREATE MACRO fc_format_type(fc_t, fc_m) AS (SELECT fc_ft.fc_title FROM fc_pg_type AS fc_ft WHERE fc_ft.oid = fc_t);
CREATE MACRO fc_pg_table_is_visible(fc_r) AS
    (SELECT fc_vc.relnamespace IN (11, 2200) FROM fc_pg_class AS fc_vc WHERE fc_vc.oid = fc_r);
CREATE MACRO fc_pg_type_is_visible(fc_r) AS TRUE;
CREATE MACRO fc_pg_function_is_visible(fc_r) AS TRUE;
CREATE MACRO fc_array_upper(fc_l, fc_d) AS nullif(len(fc_l), 0);
CREATE MACRO fc_array_lower(fc_l, fc_d) AS CASE WHEN len(fc_l) > 0 THEN 1 END;
CREATE MACRO fc_pg_collation_is_visible(fc_r) AS TRUE;
CREATE MACRO fc_pg_advisory_unlock_all() AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_get_userbyid(fc_r) AS 'fleetcube';
CREATE MACRO fc_pg_get_expr(fc_a, fc_b, fc_c := FALSE) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_get_indexdef(fc_a, fc_b := 0, fc_c := FALSE) AS CASE WHEN fc_b > 0 THEN (
    SELECT fc_ia.attname FROM fc_pg_attribute AS fc_ia WHERE fc_ia.attrelid = fc_a AND fc_ia.attnum = fc_b) ELSE (
    SELECT 'CREATE UNIQUE INDEX ' || max(fc_ic.relname) || ' ON ' || max(fc_it.relname) || ' USING btree ('
        || string_agg(fc_ib.attname, ', ' ORDER BY fc_ib.attnum) || ')'
    FROM fc_pg_index AS fc_ix JOIN fc_pg_class AS fc_ic ON fc_ic.oid = fc_ix.indexrelid
    JOIN fc_pg_class AS fc_it ON fc_it.oid = fc_ix.indrelid JOIN fc_pg_attribute AS fc_ib ON fc_ib.attrelid = fc_ix.indexrelid
    WHERE fc_ix.indexrelid = fc_a) END;
CREATE MACRO fc_pg_get_constraintdef(fc_a, fc_b := FALSE) AS (
    SELECT 'PRIMARY KEY (' || string_agg(fc_ka.attname, ', ' ORDER BY fc_ka.attnum) || ')'
    FROM fc_pg_constraint AS fc_kc JOIN fc_pg_attribute AS fc_ka ON fc_ka.attrelid = fc_kc.conindid WHERE fc_kc.oid = fc_a);
CREATE MACRO fc_pg_get_viewdef(fc_a, fc_b := FALSE) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_get_partkeydef(fc_a) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_get_function_sqlbody(fc_a) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_opclass_is_visible(fc_r) AS TRUE;
CREATE MACRO fc_pg_statistics_obj_is_visible(fc_r) AS TRUE;
CREATE MACRO fc_pg_get_function_result(fc_a) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_get_function_arguments(fc_a) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_get_statisticsobjdef_columns(fc_a) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_get_serial_sequence(fc_a, fc_b) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_pg_relation_is_publishable(fc_a) AS FALSE;
CREATE MACRO fc_pg_encoding_to_char(fc_e) AS 'UTF8';
CREATE MACRO fc_pg_database_size(fc_r) AS CAST(NULL AS BIGINT);
CREATE MACRO fc_pg_tablespace_size(fc_r) AS CAST(NULL AS BIGINT);
CREATE MACRO fc_pg_tablespace_location(fc_r) AS '';
CREATE MACRO fc_pg_table_size(fc_r) AS CAST(NULL AS BIGINT);
CREATE MACRO fc_pg_size_pretty(fc_b) AS CAST(fc_b AS VARCHAR);
CREATE MACRO fc_obj_description(fc_o, fc_k := '') AS
    (SELECT fc_od.description FROM fc_pg_description AS fc_od WHERE fc_od.objoid = fc_o AND fc_od.objsubid = 0);
CREATE MACRO fc_col_description(fc_o, fc_n) AS
    (SELECT fc_cd.description FROM fc_pg_description AS fc_cd WHERE fc_cd.objoid = fc_o AND fc_cd.objsubid = fc_n);
CREATE MACRO fc_shobj_description(fc_o, fc_k) AS CAST(NULL AS VARCHAR);
CREATE MACRO fc_has_table_privilege(fc_a, fc_b, fc_c := '') AS TRUE;
CREATE MACRO fc_has_schema_privilege(fc_a, fc_b, fc_c := '') AS TRUE;
CREATE MACRO fc_has_database_privilege(fc_a, fc_b, fc_c := '') AS TRUE;
CREATE MACRO fc_quote_ident(fc_q) AS
    CASE WHEN regexp_full_match(fc_q, '[a-z_][a-z0-9_]*') THEN fc_q ELSE '"' || replace(fc_q, '"', '""') || '"' END;
CREATE MACRO fc_to_regtype(fc_n) AS
    (SELECT fc_rt.oid FROM fc_pg_type AS fc_rt WHERE fc_rt.typname = fc_n OR fc_rt.fc_title = fc_n LIMIT 1);
-- The catalogue's own tables by PostgreSQL's numbers, by which comments and dependencies name them.
CREATE TABLE fc_own_classes (fc_name VARCHAR, fc_oid BIGINT);
INSERT INTO fc_own_classes VALUES ('pg_type', 1247), ('pg_attribute', 1249), ('pg_proc', 1255), ('pg_class', 1259),
    ('pg_database', 1262), ('pg_attrdef', 2604), ('pg_constraint', 2606), ('pg_namespace', 2615), ('pg_trigger', 2620),
    ('pg_rewrite', 2618), ('pg_policy', 3256);
CREATE MACRO fc_to_regclass(fc_n) AS coalesce((
    SELECT fc_rc.oid FROM fc_pg_class AS fc_rc JOIN fc_pg_namespace AS fc_rn ON fc_rn.oid = fc_rc.relnamespace
    WHERE fc_rc.relname = replace(fc_n, '"', '') OR fc_rn.nspname || '.' || fc_rc.relname = replace(fc_n, '"', '')
    ORDER BY fc_rn.oid LIMIT 1), (
    SELECT fc_oc.fc_oid FROM fc_own_classes AS fc_oc WHERE fc_n IN (fc_oc.fc_name, 'pg_catalog.' || fc_oc.fc_name)));
CREATE MACRO fc__pg_expandarray(fc_l) AS
    unnest(list_transform(fc_l, lambda fc_x, fc_i: struct_pack(x := fc_x, n := CAST(fc_i AS INTEGER))));
CREATE MACRO fc_regclass_name(fc_o) AS (SELECT fc_nc.relname FROM fc_pg_class AS fc_nc WHERE fc_nc.oid = fc_o);
CREATE MACRO fc_regtype_name(fc_o) AS (SELECT fc_nt.fc_title FROM fc_pg_type AS fc_nt WHERE fc_nt.oid = fc_o);

INSERT INTO fc_pg_namespace VALUES
    (11, 'pg_catalog', 10, NULL), (2200, 'public', 10, NULL), (13000, 'information_schema', 10, NULL),
    (16000, 'fleet', 10, NULL);
INSERT INTO fc_pg_am VALUES (2, 'heap', 3, 't'), (403, 'btree', 330, 'i');
INSERT INTO fc_pg_collation VALUES (100, 'default', 11);
INSERT INTO fc_pg_database VALUES
    (16001, 'fleet', 10, 6, 'C', 'C', FALSE, TRUE, -1, 1663, NULL, 'c', NULL);
INSERT INTO fc_pg_roles VALUES (10, 'fleetcube', FALSE, TRUE, FALSE, FALSE, TRUE, FALSE, -1, NULL, FALSE);
INSERT INTO fc_pg_tablespace VALUES (1663, 'pg_default', 10, NULL, NULL);
INSERT INTO fc_pg_settings VALUES
    ('max_index_keys', '32', NULL, 'Preset Options', 'Most columns of a key', 'internal'),
    ('max_identifier_length', '63', NULL, 'Preset Options', 'Longest name', 'internal'),
    ('server_version_num', '140000', NULL, 'Preset Options', 'Version that clients may expect', 'internal'),
    ('server_encoding', 'UTF8', NULL, 'Preset Options', 'Encoding', 'internal');
INSERT INTO fc_is_schemata VALUES ('fleet', 'public', 'fleetcube'), ('fleet', 'fleet', 'fleetcube'),
    ('fleet', 'pg_catalog', 'fleetcube'), ('fleet', 'information_schema', 'fleetcube');

-- Filled from fc_given_types, fc_given_relations and fc_given_columns, which the server registers before this script runs.
INSERT INTO fc_pg_type
    SELECT oid, name, 11, 10, size, size IN (1, 2, 4, 8), 'b', category, FALSE, TRUE, ',', 0, 0, array_oid, name || 'in', FALSE, 0, -1, 0,
        CASE WHEN category = 'S' THEN 100 ELSE 0 END, NULL, NULL, title
    FROM fc_given_types
    UNION ALL
    SELECT array_oid, '_' || name, 11, 10, -1, FALSE, 'b', 'A', FALSE, TRUE, ',', 0, oid, 0, 'array_in', FALSE, 0, -1, 0,
        CASE WHEN category = 'S' THEN 100 ELSE 0 END, NULL, NULL, title || '[]'
    FROM fc_given_types;
INSERT INTO fc_pg_class BY NAME
    SELECT r.oid, r.name AS relname, n.oid AS relnamespace, 0 AS reltype, 0 AS reloftype, 10 AS relowner,
        CASE WHEN r.kind = 'r' THEN 2 ELSE 0 END AS relam, 0 AS relfilenode, 0 AS reltablespace, 0 AS relpages, -1 AS reltuples,
        0 AS relallvisible, 0 AS reltoastrelid, FALSE AS relhasindex, FALSE AS relisshared, 'p' AS relpersistence,
        r.kind AS relkind, r.columns AS relnatts, 0 AS relchecks, FALSE AS relhasrules, FALSE AS relhastriggers,
        FALSE AS relhassubclass, FALSE AS relrowsecurity, FALSE AS relforcerowsecurity, TRUE AS relispopulated,
        'n' AS relreplident, FALSE AS relispartition, 0 AS relrewrite
    FROM fc_given_relations AS r JOIN fc_pg_namespace AS n ON n.nspname = r.schema;
INSERT INTO fc_pg_attribute BY NAME
    SELECT c.relation AS attrelid, c.name AS attname, t.oid AS atttypid, -1 AS attstattarget, t.typlen AS attlen,
        c.number AS attnum, CASE WHEN t.typcategory = 'A' THEN 1 ELSE 0 END AS attndims, -1 AS atttypmod, t.typbyval AS attbyval,
        'p' AS attstorage, 'i' AS attalign, c.not_null AS attnotnull, FALSE AS atthasdef, FALSE AS atthasmissing,
        '' AS attidentity, '' AS attgenerated, FALSE AS attisdropped, TRUE AS attislocal, 0 AS attinhcount,
        t.typcollation AS attcollation, '' AS attcompression
    FROM fc_given_columns AS c JOIN fc_pg_type AS t ON t.typname = c.type;
INSERT INTO fc_pg_description
    SELECT oid, 1259, 0, comment FROM fc_given_relations WHERE comment <> ''
    UNION ALL SELECT relation, 1259, number, comment FROM fc_given_columns WHERE comment <> '';
CREATE TABLE fc_pg_tables AS
    SELECT schema AS schemaname, name AS tablename, 'fleetcube' AS tableowner, CAST(NULL AS VARCHAR) AS tablespace,
        FALSE AS hasindexes, FALSE AS hasrules, FALSE AS hastriggers, FALSE AS rowsecurity
    FROM fc_given_relations WHERE kind = 'r';
UPDATE fc_pg_tables SET hasindexes = TRUE
    WHERE (schemaname, tablename) IN (SELECT (schema, relation_name) FROM fc_given_keys);
CREATE TABLE fc_pg_views AS
    SELECT schema AS schemaname, name AS viewname, 'fleetcube' AS viewowner, CAST(NULL AS VARCHAR) AS definition
    FROM fc_given_relations WHERE kind = 'v';
INSERT INTO fc_is_tables
    SELECT 'fleet', schema, name, CASE WHEN kind = 'r' THEN 'BASE TABLE' ELSE 'VIEW' END, 'NO' FROM fc_given_relations;
INSERT INTO fc_is_columns BY NAME
    SELECT 'fleet' AS table_catalog, r.schema AS table_schema, r.name AS table_name, c.name AS column_name,
        c.number AS ordinal_position, CASE WHEN c.not_null THEN 'NO' ELSE 'YES' END AS is_nullable,
        CASE WHEN t.typcategory = 'A' THEN 'ARRAY' ELSE t.fc_title END AS data_type, t.typname AS udt_name
    FROM fc_given_columns AS c JOIN fc_given_relations AS r ON r.oid = c.relation JOIN fc_pg_type AS t ON t.typname = c.type;
INSERT INTO fc_pg_class BY NAME
    SELECT k.oid, k.name AS relname, n.oid AS relnamespace, 0 AS reltype, 0 AS reloftype, 10 AS relowner, 403 AS relam,
        0 AS relfilenode, 0 AS reltablespace, 0 AS relpages, -1 AS reltuples, 0 AS relallvisible, 0 AS reltoastrelid,
        FALSE AS relhasindex, FALSE AS relisshared, 'p' AS relpersistence, 'i' AS relkind, len(k.columns) AS relnatts,
        0 AS relchecks, FALSE AS relhasrules, FALSE AS relhastriggers, FALSE AS relhassubclass, FALSE AS relrowsecurity,
        FALSE AS relforcerowsecurity, TRUE AS relispopulated, 'n' AS relreplident, FALSE AS relispartition, 0 AS relrewrite
    FROM fc_given_keys AS k JOIN fc_pg_namespace AS n ON n.nspname = k.schema;
UPDATE fc_pg_class SET relhasindex = TRUE WHERE oid IN (SELECT relation FROM fc_given_keys);
INSERT INTO fc_pg_attribute BY NAME
    SELECT p.oid AS attrelid, a.* EXCLUDE (attrelid, attnum), CAST(p.number AS SMALLINT) AS attnum
    FROM (SELECT oid, relation, unnest(columns) AS place, generate_subscripts(columns, 1) AS number FROM fc_given_keys) AS p
    JOIN fc_pg_attribute AS a ON a.attrelid = p.relation AND a.attnum = p.place;
INSERT INTO fc_pg_index BY NAME
    SELECT oid AS indexrelid, relation AS indrelid, len(columns) AS indnatts, len(columns) AS indnkeyatts,
        TRUE AS indisunique, TRUE AS indisprimary, FALSE AS indisexclusion, TRUE AS indimmediate, FALSE AS indisclustered,
        TRUE AS indisvalid, FALSE AS indisreplident, FALSE AS indnullsnotdistinct, columns AS indkey,
        list_transform(columns, lambda c: 0) AS indclass, list_transform(columns, lambda c: 0) AS indoption
    FROM fc_given_keys;
INSERT INTO fc_pg_constraint BY NAME
    SELECT k.oid + 100000 AS oid, k.name AS conname, n.oid AS connamespace, 'p' AS contype, FALSE AS condeferrable,
        FALSE AS condeferred, TRUE AS convalidated, k.relation AS conrelid, 0 AS contypid, k.oid AS conindid, 0 AS conparentid,
        0 AS confrelid, ' ' AS confupdtype, ' ' AS confdeltype, ' ' AS confmatchtype, k.columns AS conkey
    FROM fc_given_keys AS k JOIN fc_pg_namespace AS n ON n.nspname = k.schema;
INSERT INTO fc_is_table_constraints SELECT schema, relation_name, name, 'PRIMARY KEY' FROM fc_given_keys;
INSERT INTO fc_is_key_column_usage
    SELECT p.schema, p.relation_name, p.name, a.attname, p.number
    FROM (SELECT schema, relation, relation_name, name, unnest(columns) AS place, generate_subscripts(columns, 1) AS number
        FROM fc_given_keys) AS p
    JOIN fc_pg_attribute AS a ON a.attrelid = p.relation AND a.attnum = p.place;
