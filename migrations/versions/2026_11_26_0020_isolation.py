"""row-level security: every table with tenants, for two roles that own nothing

`repick_protect()` covers all tables that have a `tenant_id` by the time it is called; env.py calls
it after every migration, so that a table that comes later is covered without a line of its own.
Where the roles are not there and may not be made (a managed Postgres), nothing is switched on:
`repick doctor` says so, and the next `repick migrate` tries again.

Revision: 2026_11_26_0020_isolation, after 2026_11_26_0016_kept_runs
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_26_0020_isolation"
down_revision = "2026_11_26_0016_kept_runs"
branch_labels = None
depends_on = None

ROLES = """
CREATE FUNCTION repick_roles() RETURNS boolean LANGUAGE plpgsql AS $$
-- Makes the two roles where it may; whether this user may act as both.
DECLARE wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['repick_api', 'repick_service'] LOOP
        IF to_regrole(wanted) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;  -- made by another database's
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'row-level security stays off: there is no role %', wanted;
                    RETURN false;
            END;
        END IF;
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            BEGIN
                EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
            EXCEPTION WHEN insufficient_privilege THEN
                NULL;  -- an administrator may have granted it
            END;
        END IF;
        IF NOT pg_has_role(current_user, wanted, 'USAGE') THEN
            RAISE NOTICE 'row-level security stays off: % is no member of %', current_user, wanted;
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$
"""

PROTECT_TABLE = """
CREATE FUNCTION repick_protect_table(one regclass) RETURNS void LANGUAGE plpgsql AS $$
-- Changes only what is not so yet: an ALTER TABLE waits for every reader.
DECLARE facts pg_class;
BEGIN
    SELECT * INTO facts FROM pg_class WHERE oid = one;
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = one AND polname = 'repick_tenant') THEN
        EXECUTE format(
            'CREATE POLICY repick_tenant ON %1$s TO repick_api'
            ' USING (tenant_id = (SELECT nullif(current_setting(''repick.tenant'', true), '''')::bigint))'
            ' WITH CHECK (tenant_id = (SELECT nullif(current_setting(''repick.tenant'', true), '''')::bigint))',
            one);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = one AND polname = 'repick_service') THEN
        EXECUTE format(
            'CREATE POLICY repick_service ON %s TO repick_service USING (true) WITH CHECK (true)', one);
    END IF;
    IF NOT facts.relrowsecurity THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', one);
    END IF;
    IF NOT facts.relforcerowsecurity THEN
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', one);
    END IF;
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO repick_service', one);
    IF facts.relname <> 'api_key' THEN  -- read by its prefix alone: repick_key
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO repick_api', one);
    END IF;
END $$
"""

PROTECT = """
CREATE FUNCTION repick_protect() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    one record;
    here regnamespace := current_schema()::regnamespace;
BEGIN
    IF NOT repick_roles() THEN
        RETURN false;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO repick_api, repick_service', here);
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %s TO repick_api, repick_service', here);
    FOR one IN
        SELECT c.oid::regclass AS name, c.relname, c.relkind, c.reloptions, EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id'
            AND NOT attisdropped) AS owned
        FROM pg_class c WHERE c.relnamespace = here AND c.relkind IN ('r', 'p', 'v')
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e')
    LOOP
        IF one.relkind = 'v' THEN
            -- Otherwise a view reads with its owner's eyes.
            IF NOT coalesce('security_invoker=true' = ANY (one.reloptions), false) THEN
                EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', one.name);
            END IF;
            EXECUTE format('GRANT SELECT ON %s TO repick_api, repick_service', one.name);
        ELSIF one.owned THEN
            PERFORM repick_protect_table(one.name);
        ELSE
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO repick_service', one.name);
            IF one.relname <> 'tenant' THEN
                EXECUTE format('GRANT SELECT ON %s TO repick_api', one.name);
            END IF;
        END IF;
    END LOOP;
    REVOKE ALL ON alembic_version FROM repick_service;
    GRANT SELECT ON alembic_version TO repick_service;
    GRANT EXECUTE ON FUNCTION repick_key(text), repick_add_partition(bigint),
        repick_drop_partition(bigint) TO repick_api, repick_service;
    RETURN true;
END $$
"""

KEY = """
CREATE FUNCTION repick_key(wanted text)
RETURNS TABLE (id bigint, tenant_id bigint, sha256 bytea, scopes text[])
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT k.id, k.tenant_id, k.sha256, k.scopes FROM api_key k
    WHERE k.prefix = wanted AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > now())
$$
"""

MAY_CHANGE = """
CREATE FUNCTION repick_may_change(space_tenant bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN to_regrole('repick_service') IS NULL THEN true
        WHEN current_setting('role') <> 'repick_api'
            AND pg_has_role(session_user, 'repick_service', 'MEMBER') THEN true
        ELSE coalesce(
            space_tenant = nullif(current_setting('repick.tenant', true), '')::bigint, false)
    END
$$
"""

ADD_PARTITION = """
CREATE FUNCTION repick_add_partition(wanted bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
-- The partition of a space's vectors; the dimension is fixed by a CHECK.
DECLARE
    one space;
    name text := 'embedding_s' || wanted;
BEGIN
    SELECT * INTO STRICT one FROM space WHERE id = wanted;
    IF NOT repick_may_change(one.tenant_id) THEN
        RAISE insufficient_privilege USING MESSAGE = 'not a space of this tenant';
    END IF;
    -- Made and then attached: attaching locks the parent less than CREATE … PARTITION OF does.
    EXECUTE format(
        'CREATE TABLE %1$I (LIKE embedding INCLUDING DEFAULTS,'
        ' CONSTRAINT %2$I CHECK (vector_dims(vector) = %3$s),'
        ' CONSTRAINT %4$I CHECK (space_id = %5$s))',
        name, name || '_dimension', one.dimension, name || '_space', wanted);
    EXECUTE format('ALTER TABLE embedding ATTACH PARTITION %I FOR VALUES IN (%s)', name, wanted);
    IF (SELECT relrowsecurity FROM pg_class WHERE oid = 'embedding'::regclass) THEN
        PERFORM repick_protect_table(name::regclass);
    END IF;
END $$
"""

DROP_PARTITION = """
CREATE FUNCTION repick_drop_partition(wanted bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE one space;
BEGIN
    SELECT * INTO STRICT one FROM space WHERE id = wanted;
    IF NOT repick_may_change(one.tenant_id) THEN
        RAISE insufficient_privilege USING MESSAGE = 'not a space of this tenant';
    END IF;
    EXECUTE format('DROP TABLE %I', 'embedding_s' || wanted);
END $$
"""

CLOSE = """
DO $$
-- No object of the caller's may stand in for ours, and only our two roles call these.
DECLARE one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['repick_key(text)', 'repick_add_partition(bigint)',
                               'repick_drop_partition(bigint)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %s, pg_temp',
                       one, current_setting('search_path'));
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one);
    END LOOP;
    REVOKE EXECUTE ON FUNCTION repick_protect(), repick_protect_table(regclass), repick_roles()
        FROM PUBLIC;
END $$
"""

OPEN_AGAIN = """
DO $$
-- The roles stay: other databases of the server may use them.
DECLARE one record;
BEGIN
    FOR one IN SELECT polname, polrelid::regclass AS name FROM pg_policy
               WHERE polname IN ('repick_tenant', 'repick_service') LOOP
        EXECUTE format('DROP POLICY %I ON %s', one.polname, one.name);
    END LOOP;
    FOR one IN SELECT oid::regclass AS name FROM pg_class WHERE relrowsecurity
               AND relnamespace = current_schema()::regnamespace LOOP
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY',
                       one.name);
    END LOOP;
    FOR one IN SELECT oid::regclass AS name FROM pg_class WHERE relkind = 'v'
               AND 'security_invoker=true' = ANY (reloptions)
               AND relnamespace = current_schema()::regnamespace LOOP
        EXECUTE format('ALTER VIEW %s RESET (security_invoker)', one.name);
    END LOOP;
    FOR one IN SELECT rolname FROM pg_roles WHERE rolname IN ('repick_api', 'repick_service')
               AND pg_has_role(current_user, oid, 'USAGE') LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM %I',
                       current_schema()::regnamespace, one.rolname);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %s FROM %I',
                       current_schema()::regnamespace, one.rolname);
    END LOOP;
END $$
"""

FUNCTIONS = (ROLES, PROTECT_TABLE, PROTECT, KEY, MAY_CHANGE, ADD_PARTITION, DROP_PARTITION)
SIGNATURES = (
    "repick_drop_partition(bigint)",
    "repick_add_partition(bigint)",
    "repick_may_change(bigint)",
    "repick_key(text)",
    "repick_protect()",
    "repick_protect_table(regclass)",
    "repick_roles()",
)


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function)
    op.execute(CLOSE)
    op.execute("SELECT repick_protect()")


def downgrade() -> None:
    op.execute(OPEN_AGAIN)
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
