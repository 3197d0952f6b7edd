-- What went wrong with models and tools, by kind of failure.
-- param days: days = 30: how many days back
SELECT kind, coalesce(tool, model) AS what, error_type, count(*) AS n, max(ts) AS last
FROM events
WHERE kind IN ('model.failed', 'tool.ended') AND status <> 'ok' AND ts_ns >= $days
GROUP BY ALL ORDER BY n DESC
