"""The four figures by which people see whether their AI features are healthy.

How long an answer takes, how often the cache gives it, how many jobs wait and for how long, and
what an interaction costs. Belongs here: their metrics (`metrics`), how a process tells its own to
whoever asks on NATS (`snapshot`, `telling`), and what is computed from the snapshots of a fleet
(`spread`, `stats`: pure). All that is shown of them, by the gateway or by the command line, comes
of that one computation, so that no two places tell two truths.

Does not belong here: what only one service counts about itself, which stands in its own `metrics`;
and history, which is Prometheus' to keep. No prompt, answer, tenant or job is in a figure.
"""
