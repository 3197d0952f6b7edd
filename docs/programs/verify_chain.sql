-- Lines of a record that do not continue the chain, in plain SQL. Of a good record there are none.
-- In the folder of the record: duckdb -c ".read verify_chain.sql"
WITH files AS (
  SELECT filename, string_split(rtrim(content, chr(10)), chr(10)) AS parts FROM read_text('hot/*.jsonl')
), lines AS (
  SELECT filename, generate_subscripts(parts, 1) AS line, unnest(parts) AS text FROM files
), hashed AS (
  SELECT *, regexp_extract(text, ',"h":"([0-9a-f]{64})"}$', 1) AS h FROM lines
), chained AS (
  SELECT *, lag(h, 1, regexp_extract(text, '"previous_h":"([0-9a-f]{64})"', 1))
            OVER (PARTITION BY filename ORDER BY line) AS previous
  FROM hashed
)
SELECT filename, line FROM chained
WHERE h = '' OR h <> sha256(previous || left(text, length(text) - 72))
ORDER BY filename, line;
