-- Who decided about tool calls: what ran without a human.
-- param days: days = 30: how many days back
SELECT decided_by, decision, count(*) AS n, count(DISTINCT run_id) AS runs
FROM tool_calls WHERE decision IS NOT NULL AND epoch_ns(started) >= $days
GROUP BY ALL ORDER BY n DESC
