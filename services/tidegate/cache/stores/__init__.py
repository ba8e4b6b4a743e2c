"""Where entries are kept: two stores of one interface, `Store` of `tidegate.cache.entries`.

`embedded` keeps them in a folder of this machine with Qdrant's own engine, for a cache of one
process; `qdrant` on a Qdrant server, which several processes share. What both have in common
(names, payloads, what can be kept at all) is in `payload` and
`reading`.

What belongs here: how entries are written, found, removed and kept within bounds. What does not:
which request may be answered by which entry (lookups), what a vector is of (embedders). A store
raises StoreError and nothing else, and quotes no entry in it.

The engine keeps Python's lock for as long as it works (0.9.0, measured): `optimize` for seconds, a
flush for as long as the disk takes. So it never runs in the process of the cache. `keeper` is a
process of its own, which owns the folder and answers one request at a time; `groomer` is another,
which makes a search index of what has come in, beside the keeper and out of its way. `shard` and
`shards` run in those two alone; `keeper_process`, `folder`, `upkeep` and `embedded` in the cache.
Only `shard` knows the engine, only `qdrant` the client.
"""
