-- Work: what was handed over, how far it is, what it told and what it was told. The engine decides
-- who does it when; here is what is asked and what came of it.

CREATE TABLE work (
  tenant text NOT NULL,
  key text NOT NULL,
  parent text NOT NULL,
  operation text NOT NULL,
  payload text NOT NULL,
  labels text[] NOT NULL,
  queue text NOT NULL,
  version text NOT NULL,
  deadline double precision,
  enqueued boolean NOT NULL DEFAULT false,
  state text NOT NULL DEFAULT 'waiting'
    CHECK (state IN ('waiting', 'working', 'ok', 'error', 'cancelled', 'timeout')),
  cancelled text,
  attempt integer NOT NULL DEFAULT 0,
  worker text NOT NULL DEFAULT '',
  result text,
  error text NOT NULL DEFAULT '',
  told bigint NOT NULL DEFAULT 0,
  submitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, key)
) WITH (fillfactor = 70);
CREATE INDEX ON work (tenant, parent) WHERE parent <> '';
CREATE INDEX ON work (tenant, state) WHERE state IN ('waiting', 'working');

CREATE INDEX ON outbox_writer (tenant, name);
-- The attempt at a work that a writer writes for: once another one has begun, it writes no more.
ALTER TABLE outbox_writer ADD COLUMN attempt integer;
CREATE INDEX ON spend_hold (node);

CREATE TABLE work_event (
  tenant text NOT NULL,
  key text NOT NULL,
  seq bigint NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (tenant, key, seq),
  FOREIGN KEY (tenant, key) REFERENCES work (tenant, key) ON DELETE CASCADE
);

CREATE TABLE work_signal (
  tenant text NOT NULL,
  key text NOT NULL,
  idem text NOT NULL,
  seq bigint GENERATED ALWAYS AS IDENTITY,
  name text NOT NULL,
  payload text NOT NULL,
  PRIMARY KEY (tenant, key, idem),
  FOREIGN KEY (tenant, key) REFERENCES work (tenant, key) ON DELETE CASCADE
);

-- What is too large for a row of its own use, by its SHA-256.
CREATE TABLE work_blob (
  tenant text NOT NULL,
  sha256 text NOT NULL,
  content text NOT NULL,
  put_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, sha256)
);

CREATE TABLE work_tenant (
  tenant text PRIMARY KEY,
  draining boolean NOT NULL DEFAULT false
);

CREATE TABLE worker (
  tenant text NOT NULL,
  slot integer NOT NULL,
  name text NOT NULL,
  version text NOT NULL,
  labels text[] NOT NULL,
  at_once integer NOT NULL,
  began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, slot)
);

CREATE FUNCTION work_submit(
  p_key text, p_parent text, p_operation text, p_payload text, p_labels text[], p_queue text,
  p_version text, p_deadline double precision
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  above work;
BEGIN
  PERFORM 1 FROM work WHERE tenant = tenant() AND key = p_key;
  IF FOUND THEN
    RETURN 'there';
  END IF;
  IF p_parent = '' THEN
    PERFORM 1 FROM work_tenant WHERE tenant = tenant() AND draining;
    IF FOUND THEN
      RETURN 'draining';
    END IF;
  END IF;
  SELECT * INTO above FROM work WHERE tenant = tenant() AND key = p_parent FOR SHARE;
  INSERT INTO work (tenant, key, parent, operation, payload, labels, queue, version, deadline,
                    state, cancelled, error)
  VALUES (tenant(), p_key, p_parent, p_operation, p_payload, p_labels, p_queue, p_version,
          p_deadline,
          CASE WHEN above.cancelled IS NULL THEN 'waiting' ELSE 'cancelled' END,
          above.cancelled, coalesce(above.cancelled, ''))
  ON CONFLICT (tenant, key) DO NOTHING;
  RETURN 'new';
END $$;

CREATE FUNCTION work_enqueued(p_key text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  UPDATE work SET enqueued = true WHERE tenant = tenant() AND key = p_key
$$;

-- What was handed over by somebody who died before the engine heard of it.
CREATE FUNCTION work_unheard(p_version text) RETURNS TABLE (key text, queue text)
LANGUAGE sql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.key, w.queue FROM work w
  WHERE w.tenant = tenant() AND w.state = 'waiting' AND NOT w.enqueued AND w.version = p_version
    AND w.submitted_at < clock_timestamp() - interval '5 seconds'
  LIMIT 100
$$;

-- Begin an attempt; who began before can end the work no more. No row where there is none.
CREATE FUNCTION work_begin(p_key text, p_worker text) RETURNS TABLE (
  state text, attempt integer, operation text, payload text, parent text, labels text[],
  deadline double precision, cancelled text
)
LANGUAGE sql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  UPDATE work w SET
    attempt = w.attempt + CASE WHEN w.state IN ('waiting', 'working') THEN 1 ELSE 0 END,
    worker = CASE WHEN w.state IN ('waiting', 'working') THEN p_worker ELSE w.worker END,
    state = CASE WHEN w.state = 'waiting' THEN 'working' ELSE w.state END,
    changed_at = clock_timestamp()
  WHERE w.tenant = tenant() AND w.key = p_key
  RETURNING w.state, w.attempt, w.operation, w.payload, w.parent, w.labels, w.deadline, w.cancelled
$$;

-- A work and what is not over beneath it, locked in an order that is the same for all.
CREATE FUNCTION work_locked(p_key text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  found_keys text[];
BEGIN
  WITH RECURSIVE below AS (
    SELECT p_key AS key
    UNION
    SELECT w.key FROM work w JOIN below b ON w.parent = b.key AND w.parent <> ''
    WHERE w.tenant = tenant()
  ), locked AS (
    SELECT w.key FROM work w WHERE w.tenant = tenant() AND w.key IN (SELECT b.key FROM below b)
      AND w.state IN ('waiting', 'working')
    ORDER BY w.key FOR UPDATE
  )
  SELECT coalesce(array_agg(l.key), '{}') INTO found_keys FROM locked l;
  RETURN found_keys;
END $$;

-- What nobody has begun has ended with that; whoever works at the rest sees it.
CREATE FUNCTION work_stop(p_keys text[], p_reason text) RETURNS void LANGUAGE sql AS $$
  UPDATE work w SET
    cancelled = coalesce(w.cancelled, p_reason),
    error = CASE WHEN w.state = 'waiting' THEN p_reason ELSE w.error END,
    state = CASE WHEN w.state = 'waiting' THEN 'cancelled' ELSE w.state END,
    changed_at = clock_timestamp()
  WHERE w.tenant = tenant() AND w.key = ANY (p_keys) AND w.state IN ('waiting', 'working')
$$;

-- What is still at work beneath a work that has ended is to end, too: nobody waits for it.
CREATE FUNCTION work_end(
  p_key text, p_attempt integer, p_state text, p_result text, p_error text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  below text[];
BEGIN
  below := work_locked(p_key);
  UPDATE work SET state = p_state, result = p_result, error = p_error,
    changed_at = clock_timestamp()
  WHERE tenant = tenant() AND key = p_key AND attempt = p_attempt AND state = 'working';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM work_stop(below, 'the work above has ended');
  RETURN true;
END $$;

CREATE FUNCTION work_stand(p_keys text[]) RETURNS TABLE (
  key text, state text, result text, error text, worker text, cancelled text, told bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.key, w.state, w.result, w.error, w.worker, w.cancelled, w.told FROM work w
  WHERE w.tenant = tenant() AND w.key = ANY (p_keys)
$$;

-- What somebody who follows works looks at first: it is small however large their results are.
CREATE FUNCTION work_news(p_keys text[]) RETURNS TABLE (
  key text, state text, cancelled text, told bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.key, w.state, w.cancelled, w.told FROM work w
  WHERE w.tenant = tenant() AND w.key = ANY (p_keys)
$$;

CREATE FUNCTION work_queues(p_keys text[]) RETURNS TABLE (key text, queue text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.key, w.queue FROM work w WHERE w.tenant = tenant() AND w.key = ANY (p_keys)
$$;

CREATE FUNCTION work_tell(p_key text, p_attempt integer, p_value text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  number bigint;
BEGIN
  UPDATE work SET told = told + 1
  WHERE tenant = tenant() AND key = p_key AND attempt = p_attempt AND state = 'working'
  RETURNING told INTO number;
  IF number IS NOT NULL THEN
    INSERT INTO work_event (tenant, key, seq, value) VALUES (tenant(), p_key, number, p_value);
  END IF;
  RETURN number;
END $$;

CREATE FUNCTION work_told(p_key text, p_after bigint) RETURNS TABLE (seq bigint, value text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT e.seq, e.value FROM work_event e
  WHERE e.tenant = tenant() AND e.key = p_key AND e.seq > p_after ORDER BY e.seq LIMIT 200
$$;

CREATE FUNCTION work_signal(p_key text, p_name text, p_idem text, p_payload text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
BEGIN
  PERFORM 1 FROM work WHERE tenant = tenant() AND key = p_key;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO work_signal (tenant, key, idem, name, payload)
  VALUES (tenant(), p_key, p_idem, p_name, p_payload)
  ON CONFLICT (tenant, key, idem) DO NOTHING;
  RETURN true;
END $$;

CREATE FUNCTION work_signals(p_key text, p_name text, p_skip integer) RETURNS TABLE (payload text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT s.payload FROM work_signal s
  WHERE s.tenant = tenant() AND s.key = p_key AND s.name = p_name ORDER BY s.seq OFFSET p_skip LIMIT 1
$$;

-- Cancel a work and all beneath it. No row where there is no such work.
CREATE FUNCTION work_cancel(p_key text, p_reason text) RETURNS TABLE (key text, state text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM work_stop(work_locked(p_key), p_reason);
  RETURN QUERY WITH RECURSIVE below AS (
    SELECT w.key FROM work w WHERE w.tenant = tenant() AND w.key = p_key
    UNION
    SELECT w.key FROM work w JOIN below b ON w.parent = b.key AND w.parent <> ''
    WHERE w.tenant = tenant()
  )
  SELECT w.key, w.state FROM work w JOIN below b ON b.key = w.key WHERE w.tenant = tenant();
END $$;

-- What waited beyond its deadline has ended, too: whoever waits for it must not wait for ever. The
-- clock is the server's: one of a worker may jump.
CREATE FUNCTION work_expire() RETURNS TABLE (key text)
LANGUAGE sql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  UPDATE work w SET state = 'timeout', changed_at = clock_timestamp(),
    error = 'its deadline passed before a worker began it' || CASE
      WHEN w.labels = '{}' THEN '' ELSE format(' (labels %s)', array_to_string(w.labels, ', ')) END
  WHERE w.tenant = tenant() AND w.state = 'waiting' AND w.deadline < extract(epoch FROM clock_timestamp())
  RETURNING w.key
$$;

CREATE FUNCTION work_drain(p_draining boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  INSERT INTO work_tenant (tenant, draining) VALUES (tenant(), p_draining)
  ON CONFLICT (tenant) DO UPDATE SET draining = p_draining
$$;

CREATE FUNCTION work_counts() RETURNS TABLE (draining boolean, waiting bigint, working bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT t.draining FROM work_tenant t WHERE t.tenant = tenant()), false),
    (SELECT count(*) FROM work w WHERE w.tenant = tenant() AND w.state = 'waiting'),
    (SELECT count(*) FROM work w WHERE w.tenant = tenant() AND w.state = 'working')
$$;

CREATE FUNCTION work_runs(p_operation text, p_most integer) RETURNS TABLE (
  key text, state text, worker text, attempt integer, error text, submitted double precision,
  changed double precision, below bigint, below_ended bigint, labels text[]
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.key, w.state, w.worker, w.attempt, w.error,
    extract(epoch FROM w.submitted_at)::double precision,
    extract(epoch FROM w.changed_at)::double precision,
    (SELECT count(*) FROM work b WHERE b.tenant = w.tenant AND b.parent = w.key AND b.parent <> ''),
    (SELECT count(*) FROM work b WHERE b.tenant = w.tenant AND b.parent = w.key AND b.parent <> ''
       AND b.state NOT IN ('waiting', 'working')),
    w.labels
  FROM work w WHERE w.tenant = tenant() AND w.operation = p_operation AND w.parent = ''
  ORDER BY w.submitted_at DESC LIMIT p_most
$$;

-- Works that ended before a time, with all above and all that is on record of them, at most 500.
CREATE FUNCTION work_forgettable(p_before double precision) RETURNS TABLE (key text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.key FROM work w
  WHERE w.tenant = tenant() AND w.state NOT IN ('waiting', 'working')
    AND w.changed_at < to_timestamp(p_before)
    AND NOT EXISTS (SELECT 1 FROM work a WHERE a.tenant = w.tenant AND a.key = w.parent
                    AND a.state IN ('waiting', 'working'))
    AND NOT EXISTS (SELECT 1 FROM outbox_writer o WHERE o.tenant = w.tenant AND o.name = w.key
                    AND o.last > o.moved)
  LIMIT 500
$$;

-- Forget works, with what was told, recorded and spent for them. Budgets above a run's keep the sum.
CREATE FUNCTION work_forget(p_keys text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  gone text[];
BEGIN
  WITH forgotten AS (
    DELETE FROM work w WHERE w.tenant = tenant() AND w.key = ANY (p_keys)
      AND w.state NOT IN ('waiting', 'working') RETURNING w.key
  ) SELECT coalesce(array_agg(f.key), '{}') INTO gone FROM forgotten f;
  DELETE FROM journal_event j WHERE j.tenant = tenant() AND j.work = ANY (gone);
  DELETE FROM outbox_writer o WHERE o.tenant = tenant() AND o.name = ANY (gone)
    AND o.last = o.moved;
  DELETE FROM spend_node n WHERE n.tenant = tenant() AND n.closed AND NOT n.lasting
    AND n.id = ANY (ARRAY(
      SELECT k::uuid FROM unnest(gone) k WHERE k ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'));
  RETURN cardinality(gone);
END $$;

-- A blob is stored before the row that names it, and by no work that began later than the oldest
-- that is left: what is older than that by an hour is nobody's.
CREATE FUNCTION work_blob_forget(p_before double precision) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  gone bigint;
BEGIN
  DELETE FROM work_blob b WHERE b.tenant = tenant() AND b.put_at < to_timestamp(p_before)
    AND b.put_at < coalesce(
      (SELECT min(w.submitted_at) FROM work w WHERE w.tenant = tenant()), clock_timestamp()
    ) - interval '1 hour';
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END $$;

CREATE FUNCTION work_blob_put(p_sha256 text, p_content text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
BEGIN
  IF encode(sha256(convert_to(p_content, 'UTF8')), 'hex') <> p_sha256 THEN
    RAISE data_exception USING MESSAGE = 'a blob is not what its digest says';
  END IF;
  INSERT INTO work_blob (tenant, sha256, content) VALUES (tenant(), p_sha256, p_content)
  ON CONFLICT (tenant, sha256) DO UPDATE SET put_at = clock_timestamp();
END $$;

CREATE FUNCTION work_blob_get(p_sha256 text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT b.content FROM work_blob b WHERE b.tenant = tenant() AND b.sha256 = p_sha256
$$;

CREATE FUNCTION worker_here(
  p_slot integer, p_name text, p_version text, p_labels text[], p_at_once integer
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  INSERT INTO worker (tenant, slot, name, version, labels, at_once)
  VALUES (tenant(), p_slot, p_name, p_version, p_labels, p_at_once)
  ON CONFLICT (tenant, slot) DO UPDATE SET name = p_name, version = p_version, labels = p_labels,
    at_once = p_at_once, began_at = clock_timestamp()
$$;

-- The workers that hold their slot now.
CREATE FUNCTION workers(p_namespace integer) RETURNS TABLE (
  slot integer, name text, version text, labels text[], at_once integer, began double precision
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.slot, w.name, w.version, w.labels, w.at_once,
    extract(epoch FROM w.began_at)::double precision
  FROM worker w JOIN pg_locks l ON l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
    AND l.classid::bigint = p_namespace AND l.objid::bigint = w.slot
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  WHERE w.tenant = tenant() ORDER BY w.slot
$$;

-- Slots that somebody had, and nobody has now.
CREATE FUNCTION workers_gone(p_namespace integer) RETURNS TABLE (slot integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.slot FROM worker w WHERE w.tenant = tenant() AND w.slot NOT IN (
    SELECT l.objid::bigint::integer FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
      AND l.classid::bigint = p_namespace
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
  ORDER BY w.slot
$$;

-- What agents did, for whoever goes on with them: a copy of what the outbox hands on, kept until the
-- work is forgotten. The name of a writer is the key of the work that it writes for.
CREATE TABLE journal_event (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant text NOT NULL,
  work text NOT NULL,
  writer uuid NOT NULL,
  seq bigint NOT NULL,
  kind text NOT NULL,
  fields text NOT NULL,
  texts text NOT NULL
);
CREATE INDEX ON journal_event (tenant, work, number);

CREATE FUNCTION journal_copy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  mine outbox_writer;
  now_at integer;
BEGIN
  SELECT * INTO mine FROM outbox_writer WHERE id = NEW.writer;
  -- Whoever begins the work anew waits for this, and reads it.
  SELECT w.attempt INTO now_at FROM work w
  WHERE w.tenant = mine.tenant AND w.key = mine.name FOR SHARE;
  IF now_at IS NULL THEN
    RETURN NULL;
  END IF;
  IF mine.attempt IS NULL THEN
    UPDATE outbox_writer SET attempt = now_at WHERE id = mine.id;
  ELSIF mine.attempt < now_at THEN
    RAISE no_data_found USING MESSAGE = format('another worker goes on with %s', mine.name);
  END IF;
  INSERT INTO journal_event (tenant, work, writer, seq, kind, fields, texts)
  VALUES (mine.tenant, mine.name, NEW.writer, NEW.seq, NEW.kind, NEW.fields, NEW.texts);
  RETURN NULL;
END $$;

CREATE TRIGGER journal AFTER INSERT ON outbox_event FOR EACH ROW EXECUTE FUNCTION journal_copy();

-- The events of a work.
CREATE FUNCTION journal_of(p_key text) RETURNS TABLE (
  writer uuid, seq bigint, kind text, fields text, texts text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT j.writer, j.seq, j.kind, j.fields, j.texts FROM journal_event j
  WHERE j.tenant = tenant() AND j.work = p_key ORDER BY j.number
$$;
