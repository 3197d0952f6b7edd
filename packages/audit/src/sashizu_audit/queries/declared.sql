-- What other programs declare they spent, beside what was seen of the same answers.
SELECT d.declared_by, d.model, count(*) AS answers, sum(d.tokens) AS declared,
       count(s.tokens) AS seen_answers,
       sum(d.tokens) FILTER (s.tokens IS NOT NULL) AS declared_of_seen,
       sum(s.tokens) AS seen
FROM model_calls d LEFT JOIN (
  SELECT response_id, max(tokens) AS tokens FROM model_calls
  WHERE declared_by IS NULL AND replay_of IS NULL AND response_id IS NOT NULL GROUP BY response_id
) s USING (response_id)
WHERE d.declared_by IS NOT NULL
GROUP BY ALL ORDER BY declared DESC
