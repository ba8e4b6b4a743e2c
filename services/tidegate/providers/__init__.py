"""The providers: which model answers where, and the client that calls it.

Belongs here: the routes file, the call to an OpenAI-compatible endpoint with its time-outs, the
decoding of its token stream, and the translation of all that can go wrong there into one
`ProviderError`. What the room returns are deltas of `contracts.events`.

Does not belong here: jobs, logs and queues (worker), what a caller may ask (`contracts.chat`), and
any decision to call again. Provider keys are read here, at the last moment, and leave the process
only in the header of a call; neither they nor prompts and answers enter an error or a log line.
"""
