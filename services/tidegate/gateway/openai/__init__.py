"""The OpenAI-compatible door: what a client of OpenAI's API sends and gets, over the same jobs.

What belongs here: the bodies of that API, read strictly and written as its stock clients take them;
a job's events as chat chunks and as one completion; endings of jobs as HTTP errors; embeddings,
which are called directly. Chunks, completions and errors are pure functions of events.

What does not: anything that a job of another surface would need too. Whoever asks here for a chat
makes a job like any other, with a log that every surface can read.
"""
