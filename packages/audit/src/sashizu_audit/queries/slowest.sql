-- The steps of one run that took longest.
-- param run: run = last: which run
-- param count: integer = 20: how many
SELECT agent_name AS agent, step, kind, coalesce(tool, model) AS what, status,
       round(duration_ns / 1e6, 1) AS ms
FROM events
WHERE CAST(run_id AS VARCHAR) = $run AND duration_ns IS NOT NULL
  AND kind IN ('model.answered', 'model.failed', 'tool.ended')
ORDER BY duration_ns DESC LIMIT $count
