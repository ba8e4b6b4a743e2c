"""The simulator: a model server that speaks OpenAI's HTTP API, for development and load tests.

What belongs here: answering chat completions and embeddings as a provider would (same JSON, same
server-sent events, same errors), at a set pace, with faults on demand, and keeping account of what
was asked and delivered. Everything an answer says follows from the seed, the messages and the shape
that is asked for.

What does not: anything of the platform itself. To the worker the simulator is a foreign provider
behind a URL, and it must stay one, or tests against it prove nothing: no job, queue or cache has a
say in what it does. The header in which a call names its job is kept with the account of that call,
so that a test can tell whose it was, and nothing else comes of it. It never logs a prompt or an
answer.

The pure parts take values and return values (`answer`, `words`, `shapes`, `embeddings`, `faults`,
`frames`, `requests`, `errors`); `ticker` and `stream` keep time, `calls` and `metrics` keep
account, `admission` and `envelope` are what all calls share; the modules called `…_api` and
`models` are the HTTP surface; `app` puts them together.
"""
