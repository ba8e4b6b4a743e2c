"""The cache: answers that were given before, found again by the same or a like question.

What belongs here: which requests may be answered from memory at all, what a hit must have in common
with its request (the scope), how like two questions must be and what speaks against it (the guard),
where entries are kept (`stores`), how questions become vectors (`embedders`), and how honest all of
that is (calibration, shadows, feedback).

What does not: jobs, logs and calls for answers (worker), and who calls (chassis). The cache is an
optimisation: whatever fails here is a miss. An answer that is wrong for its question is worse than
none, so every doubt is one too. Questions and answers are kept in the store and nowhere else: not in
logs, metrics or errors.

The pure parts take values and return values: `request` (eligibility, scope and key), `guard`,
`decision`, `calibration`, `wilson`; `stores` and `embedders` do the I/O behind one small interface
each; `lookups` and `storing` put them together; `service` is the gRPC surface, `app` the
composition root.
"""
