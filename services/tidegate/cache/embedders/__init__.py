"""The embedders: whoever makes a vector of a question.

What belongs here: finding a model's files and making sure that they are the right ones, running a
model in this process, asking a provider's, and sharing either among all who ask at once. Each is an
`Embedder` and a component.

What does not: how like two vectors must be (calibration), and what a vector is good for. An
embedder knows nothing of tenants and scopes, and keeps no text: vectors are remembered by a digest
of theirs. The same text has the same vector whatever else is embedded at the time.

`models` finds and checks files, `integers` rewrites a graph to multiply in integers, `encoder` runs
one text (as `cpu` allows), `local` gives it a thread; `remote` asks a provider, in `batches`, and
`answers` reads what it says; `shared` stands before either, and `memory` is what it remembers.
"""
