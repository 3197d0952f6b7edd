-- What each agent cost, by day.
-- param days: days = 30: how many days back
SELECT day, agent_name AS agent, round(sum(cost_usd), 4) AS usd, sum(tokens) AS tokens,
       count(*) AS attempts
FROM token_usage WHERE epoch_ns(ts) >= $days
GROUP BY ALL ORDER BY day DESC, usd DESC NULLS LAST, tokens DESC
