-- Tokens and cost of one run, minute by minute.
-- param run: run = last: which run
SELECT date_trunc('minute', CAST(ts AS TIMESTAMP)) AS minute, sum(tokens) AS tokens,
       round(sum(cost_usd), 4) AS usd
FROM token_usage WHERE CAST(run_id AS VARCHAR) = $run
GROUP BY 1 ORDER BY 1
