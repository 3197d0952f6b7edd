-- What was refused, and what looks like an attack.
-- param days: days = 30: how many days back
SELECT ts, kind, severity, category, agent_name AS agent, tool, decision_reason AS reason
FROM security_events WHERE epoch_ns(ts) >= $days ORDER BY ts DESC
