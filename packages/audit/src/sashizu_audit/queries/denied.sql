-- Which tool calls were denied, and by which rule.
-- param days: days = 30: how many days back
SELECT agent_name AS agent, tool, decision_rule AS rule, decided_by, count(*) AS n,
       max(started) AS last
FROM tool_calls WHERE decision = 'deny' AND epoch_ns(started) >= $days
GROUP BY ALL ORDER BY n DESC
