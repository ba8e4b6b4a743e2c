"""The cache: answers that were given before, found again by the same or a like question.

What belongs here: which requests may be answered from memory at all, what a hit must have in common
with its request (the scope), how like two questions must be and what speaks against it (the guard),
where entries are kept (`stores`), how questions become vectors (`embedders`), and how honest all of
that is (calibration, shadows, feedback).

What does not: jobs, logs and calls for answers (worker), and who calls (chassis). The cache is an
optimisation: whatever fails here is a miss. An answer that is wrong for its question is worse than
none, so every doubt is one too. Questions and answers are kept in the store and nowhere else: not
in logs, metrics or errors.

The pure parts take values and return values: `request` (eligibility, scope and key), `language`,
`guard`, `decision`, `honesty`, `calibration`, `wilson`; `stores` and `embedders` do the I/O behind
one small interface each. `questions` and `searching` stand before those two; `lookups`, `storing`
(with `shadows` and `forgotten`), `explaining` and `upkeep` are what can be asked of a cache.
`honesty_book` and `honesty_store` keep what the fleet knows of its hits; `verifier`, `spending` and
`upstream` are for models that are called. `service` and `proto` are the gRPC surface, `app` with
`opening` the composition root.
"""
