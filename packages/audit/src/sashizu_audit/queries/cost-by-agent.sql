-- What each agent cost, by day: seen, and declared.
-- param days: days = 30: how many days back
SELECT day, agent_name AS agent, round(sum(cost_usd), 4) AS usd,
       sum(tokens) FILTER (declared_by IS NULL) AS tokens,
       sum(tokens) FILTER (declared_by IS NOT NULL) AS declared,
       count(*) AS attempts
FROM token_usage WHERE epoch_ns(ts) >= $days
GROUP BY ALL ORDER BY day DESC, usd DESC NULLS LAST, tokens DESC NULLS LAST, declared DESC
