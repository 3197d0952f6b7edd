-- The views of the record. Each statement makes one; all read `events`.

CREATE VIEW runs AS
SELECT s.run_id, s.ts AS started, e.ts AS ended,
       coalesce(e.status, 'unfinished') AS status, e.duration_ns / 1e6 AS duration_ms,
       s.actor, s.project, s.trace_id, s.budget_limit, e.budget_spent,
       CAST(json_extract_string(e.attrs, '$.nusd') AS BIGINT) / 1e9 AS cost_usd,
       json_extract(s.attrs, '$.agents') AS agents,
       json_extract_string(s.attrs, '$.declared_by') AS declared_by, s.replay_of,
       d.gpu_busy_percent, d.gpu_memory_bytes, d.gpu_energy_j
FROM events s
LEFT JOIN events e ON e.run_id = s.run_id AND e.kind = 'run.ended'
LEFT JOIN (
    SELECT run_id, avg(busy) AS gpu_busy_percent, CAST(max(used) AS BIGINT) AS gpu_memory_bytes,
           sum(energy) AS gpu_energy_j
    FROM (
        SELECT run_id, json_extract_string(attrs, '$.device') AS device,
               avg(TRY_CAST(json_extract_string(attrs, '$.readings.busy_percent') AS DOUBLE)) AS busy,
               max(TRY_CAST(json_extract_string(attrs, '$.readings.memory_used_bytes') AS DOUBLE)) AS used,
               max(TRY_CAST(json_extract_string(attrs, '$.readings.energy_j') AS DOUBLE))
               - min(TRY_CAST(json_extract_string(attrs, '$.readings.energy_j') AS DOUBLE)) AS energy
        FROM events WHERE kind = 'device.sampled' AND status = 'ok' GROUP BY ALL
    ) GROUP BY run_id
) d ON d.run_id = s.run_id
WHERE s.kind = 'run.started';

CREATE VIEW agent_executions AS
SELECT s.run_id, s.agent_id, s.parent_agent_id, s.agent_name, s.depth, s.model,
       s.ts AS started, e.ts AS ended,
       coalesce(e.status, 'unfinished') AS status, e.error_type, e.duration_ns / 1e6 AS duration_ms,
       CAST(json_extract_string(e.attrs, '$.steps') AS BIGINT) AS steps,
       CAST(json_extract_string(e.attrs, '$.tokens') AS BIGINT) AS tokens,
       CAST(json_extract_string(e.attrs, '$.requests') AS BIGINT) AS requests,
       s.budget_id, s.budget_limit, s.policy_sha256, s.conversation_id,
       json_extract_string(s.attrs, '$.declared_by') AS declared_by, s.replay_of
FROM events s
LEFT JOIN events e ON e.agent_id = s.agent_id AND e.kind = 'agent.ended'
WHERE s.kind = 'agent.started';

CREATE VIEW agent_tree AS
WITH RECURSIVE agents AS MATERIALIZED (
  SELECT run_id, agent_id, parent_agent_id, agent_name FROM events WHERE kind = 'agent.started'
), tree AS (
  SELECT run_id, agent_id AS root_id, agent_id, parent_agent_id, agent_name,
         agent_name AS path, 0 AS level
  FROM agents WHERE parent_agent_id IS NULL
  UNION ALL
  SELECT c.run_id, t.root_id, c.agent_id, c.parent_agent_id, c.agent_name,
         t.path || '/' || c.agent_name, t.level + 1
  FROM agents c JOIN tree t ON c.parent_agent_id = t.agent_id
  WHERE t.level < 64
)
SELECT * FROM tree;

CREATE VIEW model_calls AS
SELECT s.run_id, s.agent_id, s.agent_name, s.step, s.provider, s.model, e.model_used,
       s.ts AS started, coalesce(e.status, 'no result') AS status, e.error_type, e.finish_reason,
       e.duration_ns / 1e6 AS duration_ms, e.ttft_ns / 1e6 AS ttft_ms,
       e.input_tokens, e.output_tokens, e.cache_read_tokens, e.cache_write_tokens,
       e.reasoning_tokens, e.tokens, e.cost_nusd / 1e9 AS cost_usd, e.response_id,
       json_extract_string(s.attrs, '$.declared_by') AS declared_by, s.replay_of
FROM events s
LEFT JOIN events e ON e.agent_id = s.agent_id AND e.step = s.step
                  AND e.kind IN ('model.answered', 'model.failed')
WHERE s.kind = 'model.requested';

CREATE VIEW tool_calls AS
SELECT s.run_id, s.agent_id, s.agent_name, s.step, s.step_kind, s.tool, s.tool_call_id,
       s.ts AS started, d.decision, d.decided_by, d.decision_rule,
       CASE WHEN d.decision = 'deny' THEN 'denied'
            WHEN e.status IS NULL THEN 'no result'
            WHEN e.status = 'ok' THEN 'done'
            ELSE 'failed' END AS outcome,
       e.error_type, e.duration_ns / 1e6 AS duration_ms, s.args_sha256, e.result_sha256, e.bytes,
       json_extract_string(s.attrs, '$.declared_by') AS declared_by, s.replay_of
FROM events s
LEFT JOIN events d ON d.agent_id = s.agent_id AND d.step = s.step AND d.kind = 'tool.decided'
LEFT JOIN events e ON e.agent_id = s.agent_id AND e.step = s.step AND e.kind = 'tool.ended'
WHERE s.kind = 'tool.requested';

CREATE VIEW token_usage AS
SELECT CAST(ts AS DATE) AS day, ts, project, run_id, agent_id, agent_name, provider, model,
       input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
       tokens, cost_nusd / 1e9 AS cost_usd, FALSE AS in_doubt,
       json_extract_string(attrs, '$.declared_by') AS declared_by
FROM events
WHERE kind IN ('model.answered', 'model.failed') AND tokens IS NOT NULL AND replay_of IS NULL
UNION ALL BY NAME
SELECT CAST(ts AS DATE) AS day, ts, project, run_id, agent_id, agent_name,
       budget_spent AS tokens, CAST(json_extract_string(attrs, '$.nusd') AS BIGINT) / 1e9 AS cost_usd,
       TRUE AS in_doubt
FROM events
WHERE kind = 'budget.settled' AND json_extract_string(attrs, '$.in_doubt') = 'true'
  AND replay_of IS NULL;

CREATE VIEW security_events AS
SELECT ts, kind, severity, category, run_id, agent_id, agent_name, tool, tool_call_id,
       decision_reason, actor, attrs
FROM events WHERE starts_with(kind, 'security.');

CREATE VIEW budget_events AS
SELECT ts, kind, run_id, agent_id, agent_name, step, budget_id, budget_unit, budget_limit,
       budget_held, budget_spent, attrs
FROM events WHERE starts_with(kind, 'budget.');

CREATE VIEW artifacts AS
SELECT ts, run_id, agent_id, agent_name,
       json_extract_string(artifact, '$.path') AS path,
       json_extract_string(artifact, '$.sha256') AS sha256,
       CAST(json_extract_string(artifact, '$.bytes') AS BIGINT) AS bytes
FROM (
  SELECT ts, run_id, agent_id, agent_name,
         unnest(json_extract(attrs, '$.artifacts[*]')) AS artifact
  FROM events WHERE kind = 'agent.ended'
);

CREATE VIEW writers AS
SELECT writer_id, min(ts) AS opened, max(ts) AS last_written, count(*) AS events,
       count(*) FILTER (WHERE kind = 'writer.opened') AS segments,
       arg_max(kind, seq) = 'writer.closed' AS closed,
       any_value(json_extract_string(attrs, '$.host')) FILTER (WHERE kind = 'writer.opened') AS host,
       any_value(CAST(json_extract_string(attrs, '$.pid') AS BIGINT))
         FILTER (WHERE kind = 'writer.opened') AS pid,
       any_value(json_extract_string(attrs, '$.parent_writer_id')) AS parent_writer_id
FROM events GROUP BY writer_id;

CREATE VIEW seq_gaps AS
SELECT e.* EXCLUDE (numbers),
       greatest(0, CAST(e.last_seq + 1 AS BIGINT) - e.numbers - coalesce(p.events, 0)) AS missing
FROM (
  SELECT writer_id, min(seq) AS first_seq, max(seq) AS last_seq, count(*) AS events,
         count(DISTINCT seq) AS numbers
  FROM events GROUP BY writer_id
) e LEFT JOIN pruned p USING (writer_id);

CREATE VIEW checkpoints AS
SELECT ts, writer_id, seq, h, attrs FROM events WHERE kind = 'audit.checkpointed';
