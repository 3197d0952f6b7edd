-- Files that agents made, with their digests.
-- param agent: text = : only of this agent
-- param days: days = 30: how many days back
SELECT ts, run_id, agent_name AS agent, path, bytes, sha256
FROM artifacts WHERE epoch_ns(ts) >= $days AND ($agent = '' OR agent_name = $agent)
ORDER BY ts DESC
