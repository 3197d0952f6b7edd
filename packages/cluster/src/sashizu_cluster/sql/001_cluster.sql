-- Whose database this is, and who may see what. Everything is done through functions of the owner's:
-- no other role can read or write a table, and each function looks only at rows of its caller's tenant.

CREATE TABLE cluster (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  cluster_id uuid NOT NULL DEFAULT gen_random_uuid(),
  name text NOT NULL,
  made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE migration (
  number integer PRIMARY KEY,
  sha256 text NOT NULL,
  made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE tenant_role (
  role name PRIMARY KEY,
  tenant text NOT NULL CHECK (tenant ~ '^[a-z][a-z0-9_-]{0,62}$')
);

CREATE FUNCTION tenant() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  found_tenant text;
BEGIN
  SELECT t.tenant INTO found_tenant FROM tenant_role t WHERE t.role = session_user;
  IF found_tenant IS NULL AND (
    SELECT pg_has_role(session_user, nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = 'sashizu'
  ) THEN
    found_tenant := 'default';
  END IF;
  IF found_tenant IS NULL THEN
    RAISE insufficient_privilege USING
      MESSAGE = format('role %I belongs to no tenant of this cluster', session_user),
      HINT = 'the owner allows it with: sashizu cluster init --tenant NAME --role ROLE';
  END IF;
  RETURN found_tenant;
END $$;

CREATE FUNCTION which_cluster() RETURNS TABLE (cluster_id uuid, name text, newest integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT c.cluster_id, c.name, (SELECT max(number) FROM migration) FROM cluster c
$$;
