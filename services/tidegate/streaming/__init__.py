"""Streaming: the way out.

What belongs here: carrying a job's stored events to many clients over WebSocket and SSE, live or
replayed from any sequence; bounding what a client may hold of the process; closing in words that
tell a client what to do next. Creating and cancelling over a socket are passed on to the gateway
with the caller's own key or token.

What does not: writing to a log, deciding what becomes of a job, or keeping anything that another
replica would need. A streaming process may be killed at any moment, and its clients go on with any
other one from the last sequence that they have.

The pure parts take values and return values: `frames` (stored event to bytes on the wire),
`requests` (what a client sends), `session` (what one socket may do next), `positions` (where an SSE
stream begins). `feed` and `subscription` stand between a log and a socket; `socket`, `websocket`
and `sse` do the I/O; `app` puts them together.
"""
