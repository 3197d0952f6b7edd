-- How long model calls take, and how many fail, by model.
-- param days: days = 30: how many days back
SELECT provider, model, count(*) AS calls,
       round(quantile_cont(duration_ms, 0.5)) AS p50_ms,
       round(quantile_cont(duration_ms, 0.95)) AS p95_ms,
       round(quantile_cont(duration_ms, 0.99)) AS p99_ms,
       round(100.0 * count(*) FILTER (status <> 'ok') / count(*), 2) AS failed_pct
FROM model_calls WHERE epoch_ns(started) >= $days
GROUP BY ALL ORDER BY p95_ms DESC NULLS LAST
