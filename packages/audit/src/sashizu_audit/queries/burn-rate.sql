-- Tokens and cost of one run, minute by minute: seen, and declared.
-- param run: run = last: which run
SELECT date_trunc('minute', CAST(ts AS TIMESTAMP)) AS minute,
       sum(tokens) FILTER (declared_by IS NULL) AS tokens, round(sum(cost_usd), 4) AS usd,
       sum(tokens) FILTER (declared_by IS NOT NULL) AS declared
FROM token_usage WHERE CAST(run_id AS VARCHAR) = $run
GROUP BY 1 ORDER BY 1
