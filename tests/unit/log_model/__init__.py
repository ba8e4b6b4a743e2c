"""An executable model of the job event log: every interleaving within small bounds, by search.

What belongs here: the protocol's states as frozen values (`model`), its transitions as pure
functions of a state (`steps`, `reading`), and a breadth-first search with traces (`search`).

What does not: product code, I/O, clocks, randomness. The model imports nothing of the platform, so
that it can disagree with it. A change of the protocol is made here first, then in the event log's
writer and reader; `docs/model.md` says what is modelled and what is not.
"""
