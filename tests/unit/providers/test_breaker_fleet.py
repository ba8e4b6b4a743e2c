"""Three processes, one store between them, and messages that come late, twice or never."""

from dataclasses import dataclass
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tidegate.contracts.errors import Reason
from tidegate.providers.breaker import Admitted, Breaker, BreakerPolicy, Circuit, MustClaim, Phase

POLICY = BreakerPolicy(consecutive=1)
places = st.integers(0, 2)


@dataclass(frozen=True)
class Call:
    process: "Process"
    epoch: int


class Process:
    """A breaker and the messages on their way to it."""

    names = count()

    def __init__(self) -> None:
        self.writer = f"w{next(self.names)}"
        self.breaker = Breaker("p", "m", writer=self.writer, policy=POLICY)
        self.inbox: list[tuple[int, Circuit]] = []


class Fleet(RuleBasedStateMachine):
    """Acts as `Breakers` does."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.processes = [Process() for _ in range(3)]
        self.stored: Circuit | None = None
        self.sequence = 0

    def put(self, circuit: Circuit, base: int) -> bool:
        if base != self.sequence:
            return False
        before = self.stored
        if circuit.phase is Phase.HALF_OPEN and (
            before is None or (before.phase, before.writer) != (circuit.phase, circuit.writer)
        ):
            self.check_claim(before)
        self.sequence += 1
        self.stored = circuit
        for process in self.processes:
            process.inbox.append((self.sequence, circuit))
        return True

    def check_claim(self, before: Circuit | None) -> None:
        """At most one probe in the fleet: none begins while another's lease holds, or too early."""
        assert before is not None
        assert before.phase is not Phase.CLOSED
        assert self.now >= before.until

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 15.0, 61.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=calls, place=places)
    def call(self, place: int) -> object:
        process = self.processes[place]
        breaker = process.breaker
        admission = breaker.admit(self.now)
        if isinstance(admission, Admitted):
            return Call(process, admission.epoch)
        if not isinstance(admission, MustClaim):
            return multiple()
        self.push(place)
        if not breaker.due(self.now):
            return multiple()
        claim = breaker.claim(self.now)
        if not self.put(claim, breaker.base):
            breaker.found(self.stored, self.sequence, self.now)
            return multiple()
        admitted = breaker.claimed(claim, self.sequence, self.now)
        assert admitted is not None
        return Call(process, admitted.epoch)

    @rule(call=calls)
    def token(self, call: Call) -> None:
        call.process.breaker.extend(call.epoch, self.now)

    @rule(call=consumes(calls), how=st.sampled_from(["ok", "failed", "failed", "released"]))
    def end(self, call: Call, how: str) -> None:
        breaker = call.process.breaker
        if how == "ok":
            breaker.succeeded(call.epoch, self.now)
        elif how == "failed":
            breaker.failed(call.epoch, self.now, reason=Reason.PROVIDER_UNAVAILABLE)
        else:
            breaker.released(call.epoch, self.now)

    @rule(place=places)
    def push(self, place: int) -> None:
        breaker = self.processes[place].breaker
        if not breaker.unsent:
            return
        circuit = breaker.circuit
        if self.put(circuit, breaker.base):
            breaker.stored(circuit, self.sequence)
        else:
            breaker.found(self.stored, self.sequence, self.now)

    @rule(place=places)
    def push_without_an_answer(self, place: int) -> None:
        breaker = self.processes[place].breaker
        if breaker.unsent:
            self.put(breaker.circuit, breaker.base)

    @rule(place=places, lost=st.booleans(), twice=st.booleans())
    def message(self, place: int, lost: bool, twice: bool) -> None:
        process = self.processes[place]
        if not process.inbox:
            return
        sequence, circuit = process.inbox.pop(0)
        for _ in range(0 if lost else 1 + twice):
            process.breaker.heard(circuit, sequence, self.now)

    @rule(place=places)
    def dies(self, place: int) -> None:
        self.processes[place] = Process()

    @invariant()
    def only_its_owner_takes_itself_for_the_probe(self) -> None:
        for process in self.processes:
            circuit = process.breaker.circuit
            if circuit.phase is Phase.HALF_OPEN and circuit.writer != process.writer:
                assert not process.breaker._is_probe(process.breaker.epoch)

    def teardown(self) -> None:
        """Once everybody has read the store and written to it, all are of one mind."""
        for _ in range(len(self.processes) + 1):
            for place, process in enumerate(self.processes):
                if self.stored is not None:
                    process.breaker.heard(self.stored, self.sequence, self.now)
                self.push(place)
        minds = [process.breaker.circuit for process in self.processes]
        if self.stored is not None:
            assert {mind.phase for mind in minds} == {self.stored.phase}
            assert {mind.until for mind in minds} == {self.stored.until}
        assert not any(process.breaker.unsent for process in self.processes)
        self.heals()

    def heals(self) -> None:
        """However it stands, a provider that answers is called again by everybody."""
        self.now += POLICY.longest_asked
        first = self.processes[0]
        if first.breaker.circuit.phase is not Phase.CLOSED:
            probe = self.call(0)
            assert isinstance(probe, Call)
            first.breaker.answered(probe.epoch, self.now)
            self.push(0)
        for process in self.processes:
            if process.inbox:
                sequence, circuit = process.inbox[-1]
                process.breaker.heard(circuit, sequence, self.now)
            assert isinstance(process.breaker.admit(self.now), Admitted)


Fleet.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase
