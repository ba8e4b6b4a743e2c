"""The worker: takes jobs from the queue, calls the model, writes the log, and only then lets go.

Belongs here: how much to ask of which consumer, keeping messages alive, what to do with a job
before its model is called, an attempt from its first event to its last, and handing back what a
drain leaves unfinished.

Does not belong here: how a log is appended to and settled (`eventlog`), how a provider is spoken to
(`providers`), and anything that a caller sees. A worker trusts no memory of its own about a job:
what counts is what it read from the leader, and the fence of its last append. Whose a job is, is
one question with one answer (`ownership`); a worker that does not own a job, or cannot work on it,
says nothing about it, and JetStream delivers it again when its time has run out.
"""
