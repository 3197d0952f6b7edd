-- How many agents worked at the same time, at most, by day.
-- param days: days = 30: how many days back
SELECT CAST(t AS DATE) AS day, max(n) AS agents
FROM (
  SELECT t, sum(d) OVER (ORDER BY t, d ROWS UNBOUNDED PRECEDING) AS n
  FROM (
    SELECT started AS t, 1 AS d FROM agent_executions
    UNION ALL
    SELECT ended, -1 FROM agent_executions WHERE ended IS NOT NULL
  )
)
WHERE epoch_ns(t) >= $days GROUP BY 1 ORDER BY 1 DESC
