"""The values of the model and the laws that each of its states must keep.

A stored message's stream sequence is its place in `State.history` (from 1): the model follows one
job, whose subject alone moves the counter. A rollup hides what came before it but stays in the
history, so a stale replica is simply a shorter history.
"""

from enum import StrEnum
from typing import Final, NamedTuple

CANCELLER: Final = -1
REAPER: Final = -2
TERMINALS: Final = frozenset({"completed", "failed", "cancelled", "expired"})


class Law(StrEnum):
    """The invariants, as a counterexample names them."""

    ONE_TERMINAL = "1: one terminal event, nothing after the seal"
    GAPLESS = "2: stored sequences are gapless and a rollup loses nothing"
    READER = "3: a client sees the log's own prefix, and all of it at the end"
    ONE_WRITER = "4: a superseded worker changes nothing"
    ENDS = "5: an accepted job always can end"
    NO_LOSS = "6: the queued message stays until a seal is stored"


class Flaw(StrEnum):
    """Deliberate mistakes; each must give a counterexample, or the model checks nothing."""

    APPEND_UNFENCED = "append without the fence"
    SEAL_UNFENCED = "seal without the fence"
    ACK_BEFORE_SEAL = "ack before the seal is known to be stored"
    SETTLE_BLINDLY = "settle takes whatever is last as mine"
    SETTLE_BY_ATTEMPT = "settle compares the attempt only"
    SETTLE_WITHOUT_WRITER = "settle compares attempt and sequences, not the writer"
    SUPERSEDED_ACKS = "a fenced worker still acks"
    STALE_ROLLUP = "the sealer's replay need not reach its fence"
    CANCEL_DELETES_FIRST = "the canceller deletes before its seal"
    CANCEL_DELETES_REFUSED = "the canceller deletes although its seal was refused"
    REAPER_SKIPS_SEALED = "the reaper leaves the message of a log that is sealed already"
    NO_REDELIVERY = "a message is delivered once"
    NO_GAP_CHECK = "the reader takes whatever live message comes"
    NO_VERIFY = "the reader never verifies its tail"
    VERIFY_ON_RECONNECT_ONLY = "the reader verifies after a reconnect, never an idle tail"
    RETRY_MIXES = "a retry's start and the failed attempt's last deltas change places"
    NO_CLIENT_FILTER = "the reader hands over what its client has already"


class Event(NamedTuple):
    """One event; (writer, number) stands for what is generated, so no two contents are alike."""

    kind: str
    attempt: int
    writer: int
    number: int = 0


Events = tuple[Event, ...]


class Message(NamedTuple):
    """One append as stored: `first` is the sequence of its first event."""

    writer: int
    attempt: int
    first: int
    events: Events
    seal: bool = False

    @property
    def last(self) -> int:
        """The sequence of its last event."""
        return self.first + len(self.events) - 1


class Append(NamedTuple):
    """What goes to the server: a message and the stream sequence that it expects (None: any)."""

    fence: int | None
    message: Message


class Worker(NamedTuple):
    """One delivery's owner: `nonce` is its writer id, `left` what its provider may still send.

    Phases: delivered, publish (an append is unsettled), settle (it was refused), running, sealed.
    """

    nonce: int
    phase: str = "delivered"
    attempt: int = 0
    base: int = 0
    known: Events = ()
    left: int = 0
    pending: Append | None = None


class Agent(NamedTuple):
    """The canceller or the reaper. Phases: idle, publish, settle, delete, done."""

    phase: str = "idle"
    pending: Append | None = None


class Reader(NamedTuple):
    """A reader: `seen` is a stream sequence, `live` the copies that have not reached it yet.

    Phases: verify, replay, live, done.
    """

    phase: str = "verify"
    seen: int = 0
    live: tuple[int, ...] = ()


class Budget(NamedTuple):
    """How often each fault may still happen."""

    crashes: int = 0
    lost_acks: int = 0
    delays: int = 0
    reconnects: int = 0
    resumptions: int = 0
    lost_copies: int = 0
    repeated_copies: int = 0


class Config(NamedTuple):
    """The bounds of one search. `alive` bounds the deliveries held at the same time.

    With `retries` an owner whose call failed begins the next attempt itself.
    """

    name: str
    budget: Budget
    deltas: int = 1
    alive: int = 2
    max_attempts: int = 2
    workers: bool = True
    creates: bool = False
    cancels: bool = False
    expires: bool = False
    reads: bool = False
    retries: bool = False
    flaws: frozenset[Flaw] = frozenset()

    def flawed(self, *flaws: Flaw) -> "Config":
        """The same bounds with deliberate mistakes."""
        return self._replace(flaws=frozenset(flaws))


class State(NamedTuple):
    """Everything there is at one moment. `created` and `remover` are only there for the laws."""

    budget: Budget
    jobs: bool = False
    accepted: bool = False
    created: bool = False
    remover: int | None = None
    history: tuple[Message, ...] = ()
    in_flight: tuple[Append, ...] = ()
    create_in_flight: bool = False
    workers: tuple[Worker, ...] = ()
    cancel: bool = False
    deadline: bool = False
    canceller: Agent = Agent()
    reaper: Agent = Agent()
    reader: Reader | None = None
    client: Events = ()


Step = tuple[str, bool, State]


def initial(config: Config) -> State:
    """The first state: nothing is queued yet where creation is modelled, else one accepted job."""
    queued = not config.creates
    return State(
        budget=config.budget,
        jobs=queued,
        accepted=queued,
        created=queued,
        reader=Reader() if config.reads else None,
    )


def visible(history: tuple[Message, ...]) -> tuple[tuple[int, Message], ...]:
    """What a server with this history still holds: (stream sequence, message), oldest first."""
    numbered = tuple(enumerate(history, 1))
    for place in range(len(history) - 1, 0, -1):
        if history[place].seal:
            return numbered[place:]
    return numbered


def whole(history: tuple[Message, ...]) -> Events:
    """All events that a server with this history holds, in stored order."""
    return tuple(event for _, message in visible(history) for event in message.events)


def sealed(history: tuple[Message, ...]) -> bool:
    """Whether a terminal event was ever stored."""
    return any(message.seal for message in history)


def spend(state: State, fault: str) -> State | None:
    """The state with one fault of this kind less to come; None if there is none left."""
    left: int = getattr(state.budget, fault)
    if left == 0:
        return None
    return state._replace(budget=state.budget._replace(**{fault: left - 1}))


def accepts(state: State, append: Append) -> bool:
    """The server's decision: the fence names the subject's last stream sequence (0: none)."""
    return append.fence is None or append.fence == len(state.history)


def stored(state: State, append: Append) -> State:
    """The state once the server has stored an append; its live copy is on the way.

    Delayed appends that expect an older tail are forgotten: no later tail can suit them again.
    """
    history = (*state.history, append.message)
    waiting = (other for other in state.in_flight if other.fence in (None, len(history)))
    reader = state.reader
    if reader is not None and reader.phase != "done":
        reader = reader._replace(live=(*reader.live, len(history)))
    return state._replace(history=history, in_flight=tuple(waiting), reader=reader)


def fold(events: Events) -> tuple[Event, ...]:
    """The text: the deltas since the last start of an attempt (none here continues another)."""
    text: list[Event] = []
    for event in events:
        if event.kind == "started":
            text.clear()
        elif event.kind == "delta":
            text.append(event)
    return tuple(text)


def _log_laws(history: tuple[Message, ...]) -> set[Law]:
    broken: set[Law] = set()
    if any(message.seal for message in history[:-1]):
        broken.add(Law.ONE_TERMINAL)
    events: Events = ()
    for message in history:
        if message.seal:
            gapless = message.first == 1 and message.events[: len(events)] == events
            events = message.events
        else:
            gapless = message.first == len(events) + 1
            events += message.events
        if not gapless:
            broken.add(Law.GAPLESS)
    if sum(event.kind in TERMINALS for event in events) > 1:
        broken.add(Law.ONE_TERMINAL)
    if not _one_writer(events):
        broken.add(Law.ONE_WRITER)
    return broken


def _one_writer(events: Events) -> bool:
    attempt, owner = 0, 0
    for event in events:
        if event.kind == "started":
            if event.attempt != attempt + 1:
                return False
            attempt, owner = event.attempt, event.writer
        elif event.kind == "delta" and (event.attempt, event.writer) != (attempt, owner):
            return False
    return True


def owner(history: tuple[Message, ...]) -> int | None:
    """The writer of the newest stored attempt_started."""
    starts = [event.writer for event in whole(history) if event.kind == "started"]
    return starts[-1] if starts else None


def _client_law(state: State) -> bool:
    log = whole(state.history)
    if state.client != log[: len(state.client)]:
        return False
    ended = bool(state.client) and state.client[-1].kind in TERMINALS
    return not ended or (state.client == log and fold(state.client) == fold(log))


def broken_laws(state: State) -> frozenset[Law]:
    """The laws that this one state breaks (all but `Law.ENDS`, which is about its future)."""
    broken = _log_laws(state.history)
    if not _client_law(state):
        broken.add(Law.READER)
    if state.created and not state.jobs and not sealed(state.history):
        broken.add(Law.NO_LOSS)
        if state.remover is not None and state.remover != owner(state.history):
            broken.add(Law.ONE_WRITER)
    return frozenset(broken)


def ended(state: State) -> bool:
    """The good end: sealed, nothing queued, nobody at work, the client has the terminal event."""
    return (
        sealed(state.history)
        and not state.jobs
        and state.accepted
        and not state.workers
        and state.canceller.phase in ("idle", "done")
        and state.reaper.phase == "idle"
        and (state.reader is None or state.reader.phase == "done")
    )
