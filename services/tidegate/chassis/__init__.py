"""How a process runs, whatever it does.

Belongs here: what a service needs before it can do its own work. Settings groups, logs, metrics,
traces, health, tasks with a guard, the start and the end of a process, the NATS connection and
JetStream's requests, servers and channels, who a caller is, and the projections of the error
taxonomy onto gRPC and HTTP. A piece is here for its second user, who has arrived or is certain.

Does not belong here: what a job, an event or a model is and what becomes of one; what a tenant may
do. A tenant and a job are names here, passed on in a header or a log line. Nor does state that
outlives the objects that were made at the composition root: the clock, the metrics registry and
every connection arrive as arguments.
"""
