"""The transitions: from a state, every step that anyone may take next.

A step is (label, fair, state). The first word of a label is the transition's name. Fair steps are
those that a platform without further faults is bound to take in time; the rest are faults, choices
of users and slowness.
"""

from collections.abc import Iterator
from typing import Final

from .model import (
    CANCELLER,
    REAPER,
    Agent,
    Append,
    Config,
    Event,
    Events,
    Flaw,
    Message,
    State,
    Step,
    Worker,
    accepts,
    sealed,
    spend,
    stored,
    whole,
)
from .reading import reading

TRANSITIONS: Final = frozenset(
    {
        "create", "deliver", "redeliver", "start_attempt", "append", "retry", "settle", "seal",
        "ack", "crash", "request_cancel", "expire", "reap", "delete", "delayed_store", "receive",
        "replay", "reconnect", "resume", "verify_tail", "lose_copy",
    }
)  # fmt: skip
ACKED, REFUSED, UNKNOWN = "acked", "refused", "unknown"


def successors(state: State, config: Config) -> Iterator[Step]:
    """Every step that is possible in this state."""
    if not config.cancels and (place := _deciding(state)) is not None:
        yield from _working(state, config, place, state.workers[place])
        return
    yield from _creating(state, config)
    yield from _delivering(state, config)
    for place, worker in enumerate(state.workers):
        yield from _working(state, config, place, worker)
    yield from _delayed_stores(state)
    yield from _cancelling(state, config)
    yield from _reaping(state, config)
    if state.reader is not None:
        yield from reading(state, config, state.reader)


def _deciding(state: State) -> int | None:
    """A worker whose next step is its own decision alone, which may therefore be taken first.

    What the provider sends neither reads nor changes anything shared (where nothing is cancelled),
    so it commutes with every step of the others: exploring it first leaves out no outcome.
    """
    running = (place for place, worker in enumerate(state.workers) if worker.phase == "running")
    return next(running, None)


def _name(nonce: int) -> str:
    return {CANCELLER: "canceller", REAPER: "reaper"}.get(nonce) or chr(ord("A") + nonce - 1)


def _publish(state: State, append: Append) -> Iterator[tuple[str, bool, str, State]]:
    """(remark, fair, outcome, state) of one request; one that is merely lost changes nothing."""
    if accepts(state, append):
        yield "", True, ACKED, stored(state, append)
        if (unheard := spend(state, "lost_acks")) is not None:
            yield ", ack lost", False, UNKNOWN, stored(unheard, append)
    else:
        yield ", refused", True, REFUSED, state
    slow = spend(state, "delays")
    if slow is not None and accepts(state, append) and append not in state.in_flight:
        in_flight = tuple(sorted((*state.in_flight, append), key=repr))
        yield ", delayed", False, UNKNOWN, slow._replace(in_flight=in_flight)


def _delayed_stores(state: State) -> Iterator[Step]:
    for append in state.in_flight:
        rest = tuple(other for other in state.in_flight if other != append)
        after = state._replace(in_flight=rest)
        yield f"delayed_store {_name(append.message.writer)}", False, stored(after, append)
    if state.create_in_flight:
        after = state._replace(create_in_flight=False, jobs=True, created=True)
        yield "delayed_store create", False, after


# The client that creates, and the queue.


def _creating(state: State, config: Config) -> Iterator[Step]:
    if not config.creates or state.accepted:
        return
    if state.jobs:
        yield "create, refused as a repeat", True, state._replace(accepted=True)
        return
    queued = state._replace(jobs=True, created=True)
    yield "create", True, queued._replace(accepted=True)
    if (unheard := spend(queued, "lost_acks")) is not None:
        yield "create, ack lost", False, unheard
    slow = spend(state, "delays")
    if slow is not None and not state.create_in_flight:
        yield "create, delayed", False, slow._replace(create_in_flight=True)


def _fresh_nonce(state: State) -> int:
    """A writer id that nothing remembers; states that differ only in forgotten ids are merged."""
    used = {worker.nonce for worker in state.workers}
    used |= {message.writer for message in state.history}
    used |= {append.message.writer for append in state.in_flight}
    used |= {event.writer for event in whole(state.history)}
    return next(nonce for nonce in range(1, len(used) + 2) if nonce not in used)


def _delivering(state: State, config: Config) -> Iterator[Step]:
    if not state.jobs or not config.workers or len(state.workers) >= config.alive:
        return
    nonce = _fresh_nonce(state)
    if Flaw.NO_REDELIVERY in config.flaws and (nonce > 1 or state.budget != config.budget):
        return
    again = bool(state.workers) or bool(state.history)
    label = f"{'redeliver' if again else 'deliver'} {_name(nonce)}"
    # While an owner lives a redelivery is not due: it comes from a frozen or cut-off owner.
    yield label, not state.workers, state._replace(workers=(*state.workers, Worker(nonce)))


# The worker.


def _put(state: State, place: int, *worker: Worker) -> State:
    workers = (*state.workers[:place], *worker, *state.workers[place + 1 :])
    return state._replace(workers=workers)


def _working(state: State, config: Config, place: int, worker: Worker) -> Iterator[Step]:
    name = _name(worker.nonce)
    match worker.phase:
        case "delivered":
            for label, started in _start_attempt(state, config, worker):
                yield f"{label} {name}", True, _put(state, place, started)
        case "running":
            for label, changed in _generate(state, worker, config):
                yield f"{label} {name}", True, _put(state, place, changed)
        case "publish":
            yield from _worker_publishes(state, config, place, worker)
        case "settle":
            yield from _worker_settles(state, config, place, worker)
        case "sealed":
            yield f"ack {name}", True, _acked(state, place, worker)
    if (crashed := spend(state, "crashes")) is not None:
        yield f"crash {name}", False, _put(crashed, place)


def _acked(state: State, place: int, worker: Worker) -> State:
    return _put(state, place)._replace(jobs=False, remover=worker.nonce)


def _logs_read(state: State, config: Config) -> Iterator[Events]:
    """The whole log as a sealer reads it: maybe from a replica, but as far as the leader's tail."""
    stale = Flaw.STALE_ROLLUP in config.flaws
    for length in range(0 if stale else len(state.history), len(state.history) + 1):
        yield whole(state.history[:length])


def _start_attempt(state: State, config: Config, worker: Worker) -> Iterator[tuple[str, Worker]]:
    if sealed(state.history):
        yield "start_attempt finds a seal:", worker._replace(phase="sealed")
        return
    tail = state.history[-1] if state.history else Message(0, 0, 1, ())
    for known in _logs_read(state, config):
        reading = worker._replace(base=len(state.history), known=known, attempt=tail.attempt)
        if state.cancel:
            yield "start_attempt finds a cancel:", _with_seal(reading, config, "cancelled")
        elif state.deadline:
            yield "start_attempt is too late:", _with_seal(reading, config, "expired")
        elif tail.attempt >= config.max_attempts:
            yield "start_attempt is one too many:", _with_seal(reading, config, "failed")
        else:
            attempt = tail.attempt + 1
            event = Event("started", attempt, worker.nonce)
            message = Message(worker.nonce, attempt, tail.last + 1, (event,))
            pending = Append(reading.base, message)
            ready = reading._replace(
                phase="publish", attempt=attempt, left=config.deltas, pending=pending
            )
            yield "start_attempt", ready


def _seal(nonce: int, attempt: int, fence: int | None, known: Events, kind: str) -> Append:
    return Append(fence, Message(nonce, attempt, 1, (*known, Event(kind, attempt, nonce)), True))


def _with_seal(worker: Worker, config: Config, kind: str, deltas: Events = ()) -> Worker:
    fence = None if Flaw.SEAL_UNFENCED in config.flaws else worker.base
    known = worker.known + deltas
    pending = _seal(worker.nonce, worker.attempt, fence, known, kind)
    return worker._replace(phase="publish", left=0, pending=pending)


def _generate(state: State, worker: Worker, config: Config) -> Iterator[tuple[str, Worker]]:
    """The provider sends some deltas, or ends; or the nudge of a cancel is heard."""
    fence = None if Flaw.APPEND_UNFENCED in config.flaws else worker.base
    for count in range(worker.left + 1):
        deltas = tuple(
            Event("delta", worker.attempt, worker.nonce, config.deltas - worker.left + number)
            for number in range(count)
        )
        if deltas:
            first = len(worker.known) + 1
            pending = Append(fence, Message(worker.nonce, worker.attempt, first, deltas))
            yield (
                f"append of {count} begins",
                worker._replace(phase="publish", left=worker.left - count, pending=pending),
            )
        yield f"seal completed with {count} begins", _with_seal(worker, config, "completed", deltas)
    if config.retries and worker.attempt < config.max_attempts:
        yield from _retry(worker, config, fence)
    if state.cancel:
        yield "seal cancelled begins", _with_seal(worker, config, "cancelled")


def _retry(worker: Worker, config: Config, fence: int | None) -> Iterator[tuple[str, Worker]]:
    """The call failed: what it emitted is in the log by now, and the same owner calls again."""
    attempt, first = worker.attempt + 1, len(worker.known) + 1
    started = Event("started", attempt, worker.nonce)
    events: Events = (started,)
    if Flaw.RETRY_MIXES in config.flaws and worker.left:
        events = (
            started,
            Event("delta", worker.attempt, worker.nonce, config.deltas - worker.left),
        )
    pending = Append(fence, Message(worker.nonce, attempt, first, events))
    yield (
        "retry begins",
        worker._replace(phase="publish", attempt=attempt, left=config.deltas, pending=pending),
    )


def _kind(append: Append) -> str:
    return "seal" if append.message.seal else "append"


def _confirmed(worker: Worker, base: int, pending: Append) -> Worker:
    message = pending.message
    if message.seal:
        return worker._replace(phase="sealed", base=base, pending=None)
    known = worker.known + message.events
    return worker._replace(phase="running", base=base, known=known, pending=None)


def _worker_publishes(state: State, config: Config, place: int, worker: Worker) -> Iterator[Step]:
    assert worker.pending is not None
    label = f"{_kind(worker.pending)} {_name(worker.nonce)}"
    for remark, fair, outcome, after in _publish(state, worker.pending):
        changed = worker
        if outcome == ACKED:
            changed = _confirmed(worker, len(after.history), worker.pending)
        elif outcome == REFUSED:
            changed = worker._replace(phase="settle")
        yield label + remark, fair, _put(after, place, changed)
    if Flaw.ACK_BEFORE_SEAL in config.flaws and worker.pending.message.seal:
        yield f"ack {_name(worker.nonce)}", True, _acked(state, place, worker)


def _is_mine(config: Config, mine: Message, tail: Message) -> bool:
    if Flaw.SETTLE_BLINDLY in config.flaws:
        return True
    if Flaw.SETTLE_BY_ATTEMPT in config.flaws:
        return tail.attempt == mine.attempt
    same = (tail.attempt, tail.first, tail.last) == (mine.attempt, mine.first, mine.last)
    return same and (tail.writer == mine.writer or Flaw.SETTLE_WITHOUT_WRITER in config.flaws)


def _worker_settles(state: State, config: Config, place: int, worker: Worker) -> Iterator[Step]:
    assert worker.pending is not None
    tail, label = state.history[-1], f"settle {_name(worker.nonce)}"
    if _is_mine(config, worker.pending.message, tail):
        mine = _confirmed(worker, len(state.history), worker.pending)
        yield f"{label}, mine", True, _put(state, place, mine)
        return
    if Flaw.SUPERSEDED_ACKS in config.flaws:
        yield f"ack {_name(worker.nonce)}", True, _acked(state, place, worker)
    yield f"{label}, fenced", True, _put(state, place)
    if tail.seal:
        # Silence is allowed here too (the step above); either choice must be safe.
        done = worker._replace(phase="sealed", pending=None)
        yield f"{label}, sealed by another", True, _put(state, place, done)


# The canceller and the reaper.


def _agent(
    state: State, config: Config, agent: Agent, nonce: int, given_up: Agent
) -> Iterator[tuple[str, bool, State, Agent]]:
    """What both do once they have a seal to write: (label, fair, state, the agent then)."""
    name = _name(nonce)
    if agent.phase == "publish":
        assert agent.pending is not None
        for remark, fair, outcome, after in _publish(state, agent.pending):
            phase = {ACKED: "delete", REFUSED: "settle"}.get(outcome)
            kept = agent if phase is None else Agent(phase)
            yield f"seal {name}{remark}", fair, after, kept
    elif agent.phase == "settle":
        if sealed(state.history) or (
            nonce == CANCELLER and Flaw.CANCEL_DELETES_REFUSED in config.flaws
        ):
            yield f"settle {name}, sealed", True, state, Agent("delete")
        else:
            yield f"settle {name}, fenced", True, state, given_up
    elif agent.phase == "delete":
        yield f"delete {name}", True, state._replace(jobs=False), given_up
    crashed = spend(state, "crashes")
    if crashed is not None and agent.phase not in ("idle", "done"):
        yield f"crash {name}", False, crashed, given_up


def _cancelling(state: State, config: Config) -> Iterator[Step]:
    if not config.cancels:
        return
    if not state.cancel and (state.jobs or state.history):
        agent = Agent("publish", _seal(CANCELLER, 0, 0, (), "cancelled"))
        asked = state._replace(cancel=True, canceller=agent)
        yield "request_cancel", False, asked
        if Flaw.CANCEL_DELETES_FIRST in config.flaws:
            yield "delete canceller", False, asked._replace(jobs=False)
    for label, fair, after, agent in _agent(
        state, config, state.canceller, CANCELLER, Agent("done")
    ):
        yield label, fair, after._replace(canceller=agent)


def _reaping(state: State, config: Config) -> Iterator[Step]:
    if config.expires and not state.deadline:
        # Time passes anyway; but where workers are, the job must be able to end without it.
        yield "expire", not config.workers, state._replace(deadline=True)
    if state.reaper.phase == "idle" and state.jobs and (state.deadline or state.cancel):
        for agent in _reap(state, config):
            yield "reap", True, state._replace(reaper=agent)
    for label, fair, after, agent in _agent(state, config, state.reaper, REAPER, Agent()):
        yield label, fair, after._replace(reaper=agent)


def _reap(state: State, config: Config) -> Iterator[Agent]:
    if sealed(state.history):
        if Flaw.REAPER_SKIPS_SEALED not in config.flaws:
            yield Agent("delete")
        return
    fence = None if Flaw.SEAL_UNFENCED in config.flaws else len(state.history)
    attempt = state.history[-1].attempt if state.history else 0
    kind = "cancelled" if state.cancel else "expired"
    for known in _logs_read(state, config):
        yield Agent("publish", _seal(REAPER, attempt, fence, known, kind))
