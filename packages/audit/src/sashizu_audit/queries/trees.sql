-- What each agent that a user asked for cost, with all its children: seen, and declared.
-- param days: days = 30: how many days back
SELECT t.run_id, any_value(r.agent_name) AS agent, count(DISTINCT t.agent_id) AS agents,
       max(t.level) AS depth, sum(u.tokens) FILTER (u.declared_by IS NULL) AS tokens,
       round(sum(u.cost_usd), 4) AS usd,
       sum(u.tokens) FILTER (u.declared_by IS NOT NULL) AS declared
FROM agent_tree t
JOIN agent_executions r ON r.agent_id = t.root_id
LEFT JOIN token_usage u ON u.agent_id = t.agent_id
WHERE epoch_ns(r.started) >= $days
GROUP BY t.run_id, t.root_id
ORDER BY usd DESC NULLS LAST, tokens DESC NULLS LAST, declared DESC NULLS LAST
