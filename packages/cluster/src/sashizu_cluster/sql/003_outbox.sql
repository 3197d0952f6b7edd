-- What happened, written in the transaction of the step that it tells of, until the collector of the
-- host has it in the host's log. The events of a writer are numbered without a gap: whoever takes
-- numbers locks the writer's row until the transaction ends.

CREATE TABLE outbox_writer (
  id uuid PRIMARY KEY,
  tenant text NOT NULL,
  host text NOT NULL,
  name text NOT NULL,
  last bigint NOT NULL DEFAULT 0,
  moved bigint NOT NULL DEFAULT 0,
  opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK (moved BETWEEN 0 AND last)
) WITH (fillfactor = 50);
CREATE INDEX ON outbox_writer (tenant, host) WHERE last > moved;

-- Fields are JSON as text: jsonb refuses what a hostile text may hold.
CREATE TABLE outbox_event (
  writer uuid NOT NULL REFERENCES outbox_writer (id) ON DELETE CASCADE,
  seq bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind text NOT NULL,
  fields text NOT NULL,
  texts text NOT NULL,
  PRIMARY KEY (writer, seq)
);

-- Who collects for a host, and what that collector has in hand and has not yet said to be kept.
CREATE TABLE outbox_collector (
  tenant text NOT NULL,
  host text NOT NULL,
  epoch bigint NOT NULL,
  writers uuid[] NOT NULL DEFAULT '{}',
  until bigint[] NOT NULL DEFAULT '{}',
  collected bigint NOT NULL DEFAULT 0,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, host)
);

CREATE FUNCTION outbox_open(p_writer uuid, p_host text, p_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO outbox_writer (id, tenant, host, name) VALUES (p_writer, tenant(), p_host, p_name)
  ON CONFLICT (id) DO NOTHING;
  PERFORM 1 FROM outbox_writer WHERE id = p_writer AND tenant = tenant() AND host = p_host;
  IF NOT FOUND THEN
    RAISE unique_violation USING MESSAGE = format('the writer %s is somebody else''s', p_writer);
  END IF;
END $$;

-- p_after is the number of the last event that the writer knows of, for who may ask again after a
-- lost answer; NULL in the transaction of a step.
CREATE FUNCTION outbox_put(
  p_writer uuid, p_after bigint, p_kinds text[], p_fields text[], p_texts text[]
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  upto bigint;
  many integer := cardinality(p_kinds);
BEGIN
  UPDATE outbox_writer SET last = last + many
  WHERE id = p_writer AND tenant = tenant() AND last = coalesce(p_after, last)
  RETURNING last INTO upto;
  IF upto IS NULL THEN
    SELECT last INTO upto FROM outbox_writer
    WHERE id = p_writer AND tenant = tenant() AND last = p_after + many;
    IF upto IS NULL THEN
      RAISE no_data_found USING MESSAGE = format('there is no writer %s that is at event %s',
        p_writer, p_after);
    END IF;
    RETURN upto;
  END IF;
  INSERT INTO outbox_event (writer, seq, kind, fields, texts)
  SELECT p_writer, upto - many + n, kind, fields, texts
  FROM unnest(p_kinds, p_fields, p_texts) WITH ORDINALITY AS e(kind, fields, texts, n);
  RETURN upto;
END $$;

-- Become the collector of a host; whoever was it before can do nothing more.
CREATE FUNCTION outbox_collect(p_host text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  INSERT INTO outbox_collector AS c (tenant, host, epoch) VALUES (tenant(), p_host, 1)
  ON CONFLICT (tenant, host) DO UPDATE SET epoch = c.epoch + 1, seen_at = clock_timestamp()
  RETURNING epoch
$$;

CREATE FUNCTION outbox_mine(p_host text, p_epoch bigint) RETURNS outbox_collector
LANGUAGE plpgsql AS $$
DECLARE
  mine outbox_collector;
BEGIN
  SELECT * INTO mine FROM outbox_collector WHERE tenant = tenant() AND host = p_host FOR UPDATE;
  IF mine.epoch IS DISTINCT FROM p_epoch THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('another collector has taken over host %s', p_host);
  END IF;
  RETURN mine;
END $$;

-- What the collector has in hand; with nothing in hand, the oldest of what waits, at most p_most.
-- Of a writer whose next event is missing nothing is taken.
CREATE FUNCTION outbox_take(p_host text, p_epoch bigint, p_most integer)
RETURNS TABLE (writer uuid, seq bigint, at_ns bigint, kind text, fields text, texts text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  mine outbox_collector := outbox_mine(p_host, p_epoch);
BEGIN
  IF mine.writers = '{}' THEN
    WITH waiting AS (
      SELECT w.id, e.seq, e.at, e.seq - w.moved = row_number() OVER (
        PARTITION BY w.id ORDER BY e.seq) AS next
      FROM outbox_writer w CROSS JOIN LATERAL (
        SELECT o.seq, o.at FROM outbox_event o
        WHERE o.writer = w.id AND o.seq > w.moved ORDER BY o.seq LIMIT p_most
      ) e
      WHERE w.tenant = tenant() AND w.host = p_host AND w.last > w.moved
    ), oldest AS (
      SELECT id, waiting.seq FROM waiting WHERE next ORDER BY at, id, waiting.seq LIMIT p_most
    ), taken AS (
      SELECT id, max(oldest.seq) AS upto FROM oldest GROUP BY id
    )
    SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(upto), '{}')
    INTO mine.writers, mine.until FROM taken;
    UPDATE outbox_collector c SET writers = mine.writers, until = mine.until,
      seen_at = clock_timestamp()
    WHERE c.tenant = mine.tenant AND c.host = mine.host
      AND (mine.writers <> '{}' OR c.seen_at < clock_timestamp() - interval '2 seconds');
  END IF;
  RETURN QUERY
    SELECT o.writer, o.seq, (extract(epoch FROM o.at) * 1000000)::bigint * 1000, o.kind, o.fields,
           o.texts
    FROM unnest(mine.writers, mine.until) AS t(id, upto)
    JOIN outbox_writer w ON w.id = t.id
    JOIN outbox_event o ON o.writer = t.id AND o.seq > w.moved AND o.seq <= t.upto
    ORDER BY o.at, o.writer, o.seq;
END $$;

-- All that the collector had in hand is in the host's log, and survives a power cut there.
CREATE FUNCTION outbox_moved(p_host text, p_epoch bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
DECLARE
  mine outbox_collector := outbox_mine(p_host, p_epoch);
  gone integer;
BEGIN
  DELETE FROM outbox_event o USING unnest(mine.writers, mine.until) AS t(id, upto)
  WHERE o.writer = t.id AND o.seq <= t.upto;
  GET DIAGNOSTICS gone = ROW_COUNT;
  UPDATE outbox_writer w SET moved = t.upto FROM unnest(mine.writers, mine.until) AS t(id, upto)
  WHERE w.id = t.id;
  UPDATE outbox_collector SET writers = '{}', until = '{}', collected = collected + gone,
    seen_at = clock_timestamp()
  WHERE tenant = mine.tenant AND host = mine.host;
  RETURN gone;
END $$;

-- Writers of whom something waits.
CREATE FUNCTION outbox_waiting(p_host text) RETURNS TABLE (writer uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.id FROM outbox_writer w
  WHERE w.tenant = tenant() AND w.host = p_host AND w.last > w.moved ORDER BY w.id
$$;

-- Writers whose next event is missing although later ones are there.
CREATE FUNCTION outbox_gaps(p_host text) RETURNS TABLE (writer uuid, name text, missing bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT w.id, w.name, w.moved + 1 FROM outbox_writer w
  WHERE w.tenant = tenant() AND w.host = p_host AND w.last > w.moved AND NOT EXISTS (
    SELECT 1 FROM outbox_event o WHERE o.writer = w.id AND o.seq = w.moved + 1)
$$;

-- How far the collectors are.
CREATE FUNCTION outbox_stand() RETURNS TABLE (
  host text, waiting bigint, collected bigint, seen_s double precision
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = sashizu, pg_catalog, pg_temp AS $$
  SELECT coalesce(w.host, c.host), coalesce(w.waiting, 0), coalesce(c.collected, 0),
         extract(epoch FROM clock_timestamp() - c.seen_at)::double precision
  FROM (
    SELECT o.host, sum(o.last - o.moved)::bigint AS waiting FROM outbox_writer o
    WHERE o.tenant = tenant() GROUP BY o.host
  ) w FULL JOIN (SELECT * FROM outbox_collector WHERE tenant = tenant()) c ON c.host = w.host
  ORDER BY 1
$$;
