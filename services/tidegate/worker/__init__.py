"""The worker: takes jobs from the queue, calls the model, writes the log, and only then lets go.

Belongs here: how much to ask of which consumer, keeping messages alive, what to do with a job
before its model is called, where its answer comes from (`sources`: the cache, another job that asks
the same, the model), its attempts from the first event to the last, which of the waiting keep their
slots, handing back what cannot be ended here, and telling how full it is (`load`).

Does not belong here: how a log is appended to and settled (`eventlog`), how a provider is spoken
to, when it is called again and what that cost (`providers`), what may be answered from memory
(`cache`, which is asked and never waited for), and anything that a caller sees. A
worker trusts no memory of its own about a job: what counts is what it read from the leader, and the
fence of its last append. Whose a job is, is one question with one answer (`ownership`); a worker
that does not own a job, or cannot work on it, says nothing about it, and JetStream delivers it
again when its time has run out.
"""
