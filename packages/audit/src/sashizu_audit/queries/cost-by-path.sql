-- What the agents of one run cost by themselves, by their path: seen, and declared.
-- param run: run = last: which run
SELECT t.path, count(DISTINCT t.agent_id) AS agents,
       sum(u.tokens) FILTER (u.declared_by IS NULL) AS tokens, round(sum(u.cost_usd), 4) AS usd,
       sum(u.tokens) FILTER (u.declared_by IS NOT NULL) AS declared
FROM agent_tree t LEFT JOIN token_usage u USING (agent_id)
WHERE CAST(t.run_id AS VARCHAR) = $run
GROUP BY ALL ORDER BY t.path
