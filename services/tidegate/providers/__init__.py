"""The providers: which model answers where, the client that calls it, and what a call costs.

Belongs here: the routes file and the prices, the call to an OpenAI-compatible endpoint with its
time-outs, the decoding of its token stream, the translation of all that can go wrong there into one
`ProviderError`, and what follows from that: circuit breakers, retries, fallbacks. What the room
returns are deltas of `contracts.events`.

Does not belong here: jobs, logs and queues (worker), and what a caller may ask (`contracts.chat`).
Provider keys are read here, at the last moment, and leave the process only in the header of a call;
neither they nor prompts and answers enter an error or a log line.
"""
