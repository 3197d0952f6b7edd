-- Agents that never ended: they work still, or their process died.
SELECT run_id, agent_id, agent_name AS agent, model, started
FROM agent_executions WHERE status = 'unfinished' ORDER BY started DESC
