-- Writers of whom events are missing; none is what should be.
SELECT * FROM seq_gaps WHERE missing <> 0
