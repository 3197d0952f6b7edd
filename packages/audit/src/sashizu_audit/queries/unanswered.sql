-- Tool calls of which nobody knows what came: what they changed has to be looked at.
SELECT run_id, agent_name AS agent, step, step_kind, tool, started, args_sha256
FROM tool_calls WHERE outcome = 'no result' ORDER BY started DESC
