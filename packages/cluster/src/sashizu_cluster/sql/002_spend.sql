-- The budget of all machines. A node is a level of the tree, a hold is what somebody has taken of it
-- and of every level above. Quantities are arrays of four: tokens, nusd, requests, agents; in limits
-- NULL bounds nothing. Rows are locked from the leaves to the root, so that nobody waits in a circle,
-- and the root, which everybody needs, is locked last.

CREATE TABLE spend_node (
  id uuid PRIMARY KEY,
  tenant text NOT NULL,
  parent uuid REFERENCES spend_node (id) ON DELETE CASCADE,
  path uuid[] NOT NULL,
  level integer NOT NULL,
  name text NOT NULL,
  lasting boolean NOT NULL,
  limits bigint[] NOT NULL,
  bounds jsonb NOT NULL,
  held bigint[] NOT NULL DEFAULT '{0,0,0,0}',
  spent bigint[] NOT NULL DEFAULT '{0,0,0,0}',
  over bigint[] NOT NULL DEFAULT '{0,0,0,0}',
  closed boolean NOT NULL DEFAULT false,
  made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK (held[1] >= 0 AND held[2] >= 0 AND held[3] >= 0 AND held[4] >= 0),
  CHECK (limits[1] IS NULL OR spent[1] + held[1] <= limits[1] + over[1]),
  CHECK (limits[2] IS NULL OR spent[2] + held[2] <= limits[2] + over[2]),
  CHECK (limits[3] IS NULL OR spent[3] + held[3] <= limits[3] + over[3]),
  CHECK (limits[4] IS NULL OR spent[4] + held[4] <= limits[4] + over[4])
) WITH (fillfactor = 50);
CREATE INDEX ON spend_node (parent);
CREATE UNIQUE INDEX ON spend_node (tenant) WHERE lasting;

CREATE TABLE spend_hold (
  tenant text NOT NULL,
  id text NOT NULL,
  node uuid NOT NULL REFERENCES spend_node (id) ON DELETE CASCADE,
  owner text NOT NULL,
  state text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'settled', 'released', 'charged')),
  held bigint[] NOT NULL,
  spent bigint[] NOT NULL DEFAULT '{0,0,0,0}',
  PRIMARY KEY (tenant, id),
  CHECK (held[1] >= 0 AND held[2] >= 0 AND held[3] >= 0 AND held[4] >= 0)
) WITH (fillfactor = 50);
CREATE INDEX ON spend_hold (node) WHERE state = 'held';
CREATE INDEX ON spend_hold (tenant, owner) WHERE state = 'held';

-- What was done, in the order in which it was done on every level.
CREATE TABLE spend_movement (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  node uuid NOT NULL REFERENCES spend_node (id) ON DELETE CASCADE,
  hold text,
  kind text NOT NULL,
  held bigint[] NOT NULL,
  spent bigint[] NOT NULL
);
CREATE INDEX ON spend_movement (node);

CREATE TYPE spend_answer AS (
  outcome text, held bigint[], spare bigint[], unit integer, free bigint, name text
);

CREATE FUNCTION plus(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY[a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4]]
$$;
CREATE FUNCTION minus(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY[a[1] - b[1], a[2] - b[2], a[3] - b[3], a[4] - b[4]]
$$;
-- What of b is more than a.
CREATE FUNCTION beyond(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY[greatest(0, b[1] - a[1]), greatest(0, b[2] - a[2]),
               greatest(0, b[3] - a[3]), greatest(0, b[4] - a[4])]
$$;
-- The part of a quantity that a row limits.
CREATE FUNCTION limited(limits bigint[], a bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY[CASE WHEN limits[1] IS NULL THEN 0 ELSE a[1] END,
               CASE WHEN limits[2] IS NULL THEN 0 ELSE a[2] END,
               CASE WHEN limits[3] IS NULL THEN 0 ELSE a[3] END,
               CASE WHEN limits[4] IS NULL THEN 0 ELSE a[4] END]
$$;

-- The path of a node of the caller's, and its rows locked.
CREATE FUNCTION spend_locked(p_node uuid) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
  way uuid[];
BEGIN
  SELECT path INTO way FROM spend_node WHERE id = p_node AND tenant = tenant();
  IF way IS NULL THEN
    RAISE no_data_found USING MESSAGE = format('there is no budget node %s', p_node);
  END IF;
  PERFORM 1 FROM spend_node WHERE id = ANY (way) ORDER BY level DESC, id FOR NO KEY UPDATE;
  RETURN way;
END $$;

-- Why an amount does not fit now; no row where it does. What never fits comes first, then what is
-- nearest to the leaf.
CREATE FUNCTION spend_short(way uuid[], need bigint[], asked bigint[]) RETURNS spend_answer
LANGUAGE plpgsql AS $$
DECLARE
  here spend_node;
  free bigint;
  busy spend_answer;
BEGIN
  FOR here IN SELECT * FROM spend_node WHERE id = ANY (way) ORDER BY level DESC LOOP
    IF here.closed THEN
      RETURN ROW('ended', NULL, NULL, NULL, 0, here.name)::spend_answer;
    END IF;
    FOR i IN 1..4 LOOP
      CONTINUE WHEN here.limits[i] IS NULL OR need[i] = 0;
      free := greatest(0, here.limits[i] - here.spent[i] - here.held[i]);
      CONTINUE WHEN need[i] <= free;
      IF asked[i] > here.limits[i] - here.spent[i] THEN
        RETURN ROW('refused', NULL, NULL, i - 1, free, here.name)::spend_answer;
      END IF;
      IF busy IS NULL THEN
        busy := ROW('busy', NULL, NULL, i - 1, free, here.name)::spend_answer;
      END IF;
    END LOOP;
  END LOOP;
  RETURN busy;
END $$;

-- Change every level of a path at once; the rows are locked.
CREATE FUNCTION spend_moved(
  way uuid[], p_hold text, p_kind text, d_held bigint[], d_spent bigint[], excess bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  topmost integer;
BEGIN
  UPDATE spend_node SET
    held = plus(held, d_held),
    spent = plus(spent, d_spent),
    over = plus(over, limited(limits, excess))
  WHERE id = ANY (way);
  IF excess <> '{0,0,0,0}' THEN
    -- As in the ledger of a process: a bill beyond its hold closes up to what bounds it.
    SELECT min(level) INTO topmost FROM spend_node
    WHERE id = ANY (way) AND NOT lasting AND limited(limits, excess) <> '{0,0,0,0}';
    UPDATE spend_node SET closed = true WHERE id = ANY (way) AND NOT lasting AND level >= topmost;
  END IF;
  INSERT INTO spend_movement (node, hold, kind, held, spent)
  VALUES (way[1], p_hold, p_kind, d_held, d_spent);
END $$;

-- --- nodes ---------------------------------------------------------------------------------------

CREATE FUNCTION spend_organisation() RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  found_id uuid;
  new_id uuid := gen_random_uuid();
BEGIN
  SELECT id INTO found_id FROM spend_node WHERE tenant = tenant() AND lasting;
  IF found_id IS NULL THEN
    INSERT INTO spend_node (id, tenant, path, level, name, lasting, limits, bounds)
    VALUES (new_id, tenant(), ARRAY[new_id], 0, 'organisation', true,
            '{NULL,NULL,NULL,NULL}', '{}')
    ON CONFLICT (tenant) WHERE lasting DO NOTHING;
    SELECT id INTO found_id FROM spend_node WHERE tenant = tenant() AND lasting;
  END IF;
  RETURN found_id;
END $$;

CREATE FUNCTION spend_open(p_id uuid, p_parent uuid, p_name text, p_limits bigint[], p_bounds jsonb)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  above_id uuid := coalesce(p_parent, spend_organisation());
  above spend_node;
BEGIN
  SELECT * INTO above FROM spend_node WHERE id = above_id AND tenant = tenant();
  IF above.id IS NULL THEN
    RAISE no_data_found USING MESSAGE = format('there is no budget node %s', p_parent);
  END IF;
  INSERT INTO spend_node (id, tenant, parent, path, level, name, lasting, limits, bounds)
  VALUES (p_id, above.tenant, above.id, p_id || above.path, above.level + 1, p_name, false,
          p_limits, p_bounds)
  ON CONFLICT (id) DO NOTHING;
  PERFORM 1 FROM spend_node WHERE id = p_id AND tenant = above.tenant AND parent = above.id;
  IF NOT FOUND THEN
    RAISE unique_violation USING MESSAGE = format('the budget node %s is somebody else''s', p_id);
  END IF;
END $$;

-- How a node stands, with the least that is left on its path.
CREATE FUNCTION spend_stand(p_id uuid) RETURNS TABLE (
  name text, limits bigint[], bounds jsonb, held bigint[], spent bigint[], over bigint[],
  closed boolean, path_limits bigint[], path_free bigint[], path_hopeful bigint[]
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  WITH way AS (
    SELECT a.* FROM spend_node n JOIN spend_node a ON a.id = ANY (n.path)
    WHERE n.id = p_id AND n.tenant = tenant()
  )
  SELECT n.name, n.limits, n.bounds, n.held, n.spent, n.over,
    (SELECT bool_or(w.closed) FROM way w),
    ARRAY(SELECT min(w.limits[i]) FROM way w, generate_series(1, 4) i GROUP BY i ORDER BY i),
    ARRAY(SELECT min(w.limits[i] - w.spent[i] - w.held[i]) FROM way w, generate_series(1, 4) i
          GROUP BY i ORDER BY i),
    ARRAY(SELECT min(w.limits[i] - w.spent[i]) FROM way w, generate_series(1, 4) i
          GROUP BY i ORDER BY i)
  FROM way n WHERE n.id = p_id
$$;

-- End a node and all below it: what is held there is charged in full.
CREATE FUNCTION spend_close(p_id uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  way uuid[];
  beneath uuid[];
BEGIN
  SELECT path INTO way FROM spend_node WHERE id = p_id AND tenant = tenant();
  IF way IS NULL THEN
    RAISE no_data_found USING MESSAGE = format('there is no budget node %s', p_id);
  END IF;
  WITH RECURSIVE below AS (
    SELECT p_id AS id UNION ALL
    SELECT n.id FROM spend_node n JOIN below b ON n.parent = b.id
  ) SELECT array_agg(id) INTO beneath FROM below;
  PERFORM 1 FROM spend_node WHERE id = ANY (way || beneath)
  ORDER BY level DESC, id FOR NO KEY UPDATE;
  UPDATE spend_node SET closed = true WHERE id = p_id AND NOT lasting;
  RETURN spend_charge_all(ARRAY(
    SELECT h.id FROM spend_hold h WHERE h.node = ANY (beneath) AND h.state = 'held'
  ));
END $$;

-- --- holds of a step -----------------------------------------------------------------------------

CREATE FUNCTION spend_reserve(p_hold text, p_node uuid, p_owner text, p_amount bigint[])
RETURNS spend_answer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  way uuid[] := spend_locked(p_node);
  old spend_hold;
  short spend_answer;
BEGIN
  SELECT * INTO old FROM spend_hold WHERE tenant = tenant() AND id = p_hold FOR UPDATE;
  IF old.id IS NOT NULL THEN
    RETURN ROW(old.state, old.held, NULL, NULL, 0, NULL)::spend_answer;
  END IF;
  short := spend_short(way, p_amount, p_amount);
  IF short.outcome IS NOT NULL THEN
    RETURN short;
  END IF;
  INSERT INTO spend_hold (tenant, id, node, owner, held)
  VALUES (tenant(), p_hold, p_node, p_owner, p_amount);
  PERFORM spend_moved(way, p_hold, 'held', p_amount, '{0,0,0,0}', '{0,0,0,0}');
  RETURN ROW('held', p_amount, NULL, NULL, 0, NULL)::spend_answer;
END $$;

-- Replace a hold by what was billed; returns by how much the bill exceeds it. Ending it again changes
-- nothing.
CREATE FUNCTION spend_settle(p_hold text, p_state text, p_bill bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  found_hold spend_hold;
  way uuid[];
  bill bigint[];
  excess bigint[];
BEGIN
  SELECT * INTO found_hold FROM spend_hold WHERE tenant = tenant() AND id = p_hold;
  IF found_hold.id IS NULL THEN
    RAISE no_data_found USING MESSAGE = format('there is no hold %s', p_hold);
  END IF;
  way := spend_locked(found_hold.node);
  SELECT * INTO found_hold FROM spend_hold WHERE tenant = tenant() AND id = p_hold FOR UPDATE;
  IF found_hold.state <> 'held' THEN
    RETURN '{0,0,0,0}';
  END IF;
  bill := coalesce(p_bill, found_hold.held);
  excess := beyond(found_hold.held, bill);
  UPDATE spend_hold SET state = p_state, held = '{0,0,0,0}', spent = plus(spent, bill)
  WHERE tenant = found_hold.tenant AND id = p_hold;
  PERFORM spend_moved(way, p_hold, p_state, minus('{0,0,0,0}', found_hold.held), bill, excess);
  RETURN excess;
END $$;

-- --- chunks: holds that a process draws on -------------------------------------------------------

-- The process says all that it has spent of its chunk so far and what it goes on holding, so that
-- asking again after a lost answer books nothing twice. Then what is needed is drawn, and as much
-- again as p_share says, if it fits.
CREATE FUNCTION spend_draw(
  p_hold text, p_spent bigint[], p_keep bigint[], p_need bigint[], p_asked bigint[]
) RETURNS spend_answer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  chunk spend_hold;
  way uuid[];
  d_held bigint[];
  d_spent bigint[];
  spare bigint[];
  short spend_answer;
BEGIN
  SELECT * INTO chunk FROM spend_hold WHERE tenant = tenant() AND id = p_hold;
  IF chunk.id IS NULL THEN
    RAISE no_data_found USING MESSAGE = format('there is no chunk %s', p_hold);
  END IF;
  way := spend_locked(chunk.node);
  SELECT * INTO chunk FROM spend_hold WHERE tenant = tenant() AND id = p_hold FOR UPDATE;
  IF chunk.state <> 'held' THEN
    RETURN ROW('ended', NULL, NULL, NULL, 0, NULL)::spend_answer;
  END IF;
  d_held := minus(p_keep, chunk.held);
  d_spent := minus(p_spent, chunk.spent);
  IF d_held <> '{0,0,0,0}' OR d_spent <> '{0,0,0,0}' THEN
    UPDATE spend_hold SET held = p_keep, spent = p_spent WHERE tenant = chunk.tenant AND id = p_hold;
    PERFORM spend_moved(way, p_hold, 'booked', d_held, d_spent, beyond(chunk.held, d_spent));
  END IF;
  IF p_need = '{0,0,0,0}' THEN
    RETURN ROW('held', p_need, p_need, NULL, 0, NULL)::spend_answer;
  END IF;
  short := spend_short(way, p_need, p_asked);
  IF short.outcome IS NOT NULL THEN
    RETURN short;
  END IF;
  SELECT ARRAY(
    SELECT CASE WHEN p_need[i] = 0 THEN 0 ELSE coalesce(min(least(
      n.limits[i] - n.spent[i] - n.held[i] - p_need[i],
      greatest(
        least(3 * p_asked[i], (n.limits[i] - n.spent[i] - n.held[i]) / 8),
        (n.limits[i] - n.spent[i] - n.held[i]) / 50
      )
    )) FILTER (WHERE n.limits[i] IS NOT NULL), 0) END
    FROM generate_series(1, 4) i, spend_node n WHERE n.id = ANY (way) GROUP BY i ORDER BY i
  ) INTO spare;
  d_held := plus(p_need, spare);
  UPDATE spend_hold SET held = plus(held, d_held) WHERE tenant = chunk.tenant AND id = p_hold;
  PERFORM spend_moved(way, p_hold, 'drawn', d_held, '{0,0,0,0}', '{0,0,0,0}');
  RETURN ROW('held', d_held, spare, NULL, 0, NULL)::spend_answer;
END $$;

-- --- what nobody answers for any more -------------------------------------------------------------

-- Charge holds in full, each once; all rows are locked before anything changes.
CREATE FUNCTION spend_charge_all(p_holds text[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  each record;
  charged integer := 0;
BEGIN
  PERFORM 1 FROM spend_node WHERE id IN (
    SELECT unnest(n.path) FROM spend_hold h JOIN spend_node n ON n.id = h.node
    WHERE h.tenant = tenant() AND h.id = ANY (p_holds)
  ) ORDER BY level DESC, id FOR NO KEY UPDATE;
  FOR each IN
    SELECT h.id, h.held, n.path FROM spend_hold h JOIN spend_node n ON n.id = h.node
    WHERE h.tenant = tenant() AND h.id = ANY (p_holds) AND h.state = 'held' FOR UPDATE OF h
  LOOP
    UPDATE spend_hold SET state = 'charged', held = '{0,0,0,0}', spent = plus(spent, each.held)
    WHERE tenant = tenant() AND id = each.id;
    PERFORM spend_moved(
      each.path, each.id, 'in doubt', minus('{0,0,0,0}', each.held), each.held, '{0,0,0,0}');
    charged := charged + 1;
  END LOOP;
  RETURN charged;
END $$;

-- All that an owner has held so far, who is gone.
CREATE FUNCTION spend_take_over(p_owner text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  charged integer;
BEGIN
  SELECT spend_charge_all(array_agg(id ORDER BY id)) INTO charged
  FROM spend_hold WHERE tenant = tenant() AND owner = p_owner AND state = 'held';
  RETURN coalesce(charged, 0);
END $$;
