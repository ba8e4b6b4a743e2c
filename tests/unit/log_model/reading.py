"""The reader's transitions, its client's resumptions and the faults of the live copies."""

from collections.abc import Iterator

from .model import Config, Flaw, Message, Reader, State, Step, spend, visible


def reading(state: State, config: Config, reader: Reader) -> Iterator[Step]:
    # A client may come back with less than was sent to it: frames die in sockets.
    if (resumed := spend(state, "resumptions")) is not None and reader.phase != "done":
        for kept in range(len(state.client) + 1):
            client = state.client[:kept]
            yield f"resume after {kept}", False, resumed._replace(client=client, reader=Reader())
    if reader.phase == "done":
        return
    if (cut := spend(state, "reconnects")) is not None:
        verify = Flaw.NO_VERIFY not in config.flaws
        back = reader._replace(live=(), phase="verify" if verify else "live")
        yield "reconnect", False, cut._replace(reader=back)
    yield from _copies(state, config, reader)
    if reader.phase == "replay":
        yield from _replays(state, config, reader)
    yield from _verifies(state, config, reader)


def _copies(state: State, config: Config, reader: Reader) -> Iterator[Step]:
    for sequence in reader.live:
        rest = reader._replace(live=tuple(other for other in reader.live if other != sequence))
        if (lost := spend(state, "lost_copies")) is not None:
            yield f"lose_copy {sequence}", False, lost._replace(reader=rest)
        if reader.phase != "live":
            continue
        yield f"receive {sequence}", True, _received(state, config, rest, sequence)
        if (twice := spend(state, "repeated_copies")) is not None:
            repeated = _received(twice, config, reader, sequence)
            yield f"receive {sequence}, to be repeated", False, repeated


def _received(state: State, config: Config, reader: Reader, sequence: int) -> State:
    if sequence <= reader.seen:
        return state._replace(reader=reader)
    if sequence - 1 != reader.seen and Flaw.NO_GAP_CHECK not in config.flaws:
        return state._replace(reader=reader._replace(phase="replay"))
    return _taken(state, config, reader, sequence, state.history[sequence - 1])


def _taken(state: State, config: Config, reader: Reader, sequence: int, message: Message) -> State:
    had = 0 if Flaw.NO_CLIENT_FILTER in config.flaws else len(state.client)
    new = message.events[max(0, had + 1 - message.first) :]
    live = () if message.seal else reader.live
    phase = "done" if message.seal else reader.phase
    after = reader._replace(seen=sequence, phase=phase, live=live)
    return state._replace(client=state.client + new, reader=after)


def _replays(state: State, config: Config, reader: Reader) -> Iterator[Step]:
    newest = len(state.history)
    for length in range(newest + 1):
        after = state._replace(reader=reader._replace(phase="live"))
        for sequence, message in visible(state.history[:length]):
            current = after.reader
            if current is not None and current.phase != "done" and sequence > current.seen:
                after = _taken(after, config, current, sequence, message)
        remark = "" if length == newest else f" from a replica at {length}"
        yield f"replay{remark}", length == newest, after


def _verifies(state: State, config: Config, reader: Reader) -> Iterator[Step]:
    """The tail is read after a (re)connect, and now and then while nothing comes."""
    idle = reader.phase == "live" and not config.flaws & {
        Flaw.NO_VERIFY,
        Flaw.VERIFY_ON_RECONNECT_ONLY,
    }
    if reader.phase != "verify" and not idle:
        return
    newest = len(state.history)
    for length in {newest, max(newest - 1, 0)}:
        phase = "replay" if length > reader.seen else "live"
        remark = "" if length == newest else f" from a replica at {length}"
        after = state._replace(reader=reader._replace(phase=phase))
        yield f"verify_tail{remark}", length == newest, after
