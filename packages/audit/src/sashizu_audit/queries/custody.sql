-- Who asked, copied, signed, sealed or dropped the record, and who changed what is held.
-- param days: days = 400: how many days back
SELECT ts, kind, actor, status, attrs
FROM events
WHERE (starts_with(kind, 'audit.') OR kind IN ('policy.changed', 'config.changed'))
  AND ts_ns >= $days
ORDER BY ts DESC
