"""The event log: how a job's events are written by one owner and read by many.

Belongs here: the streams and consumers, the fenced writer with its settlement and seal, the reader
that stitches live to replayed, looking a job up, and the dead letters of jobs that failed. Does not
belong here: why an attempt begins or ends (worker, gateway), how events look to a client (the
surfaces), and what they mean (`contracts`). The transitions carry the names of the model in
tests/unit/log_model.
"""
