-- Where budgets were met: calls that were refused, and bills above their holds.
-- param days: days = 30: how many days back
SELECT ts, kind, agent_name AS agent, budget_id, budget_unit AS unit, budget_spent AS spent,
       budget_limit AS "limit", round(100.0 * budget_spent / nullif(budget_limit, 0)) AS pct
FROM budget_events
WHERE kind IN ('budget.refused', 'budget.overrun') AND epoch_ns(ts) >= $days
ORDER BY ts DESC
