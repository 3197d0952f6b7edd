"""A cluster in simulated time: agents, workers, PostgreSQL servers, the ledger and the outbox.

A step holds its worst case in its worker's chunk, waits for its model, takes CPU of its worker,
and is stored in one transaction: CPU of PostgreSQL, then a sync that commits share. A chunk that is
used up is drawn anew from a root row, which is locked from its update to the end of its commit.
What a step records lies in the outbox until a collector has moved it.

Money is counted in tokens, as whole numbers. Times are seconds.
"""

from __future__ import annotations

from _cluster_parts import Call, Collector, Costs, Draw, Purse, Root, Shape
from _queueing import Calendar, Flush, Lock, Station


class Cluster:
    """The whole of it. `run` until a time, then look at the numbers."""

    def __init__(self, shape: Shape, costs: Costs, seed: int = 1) -> None:
        self.shape, self.costs = shape, costs
        self.calendar = calendar = Calendar(seed)
        cpu = calendar.exponential
        # What collectors take of PostgreSQL's CPU makes every transaction longer by as much.
        step = costs.database_step + costs.rows * costs.database_row
        self.databases = [
            Station(calendar, shape.cores, lambda: cpu(step)) for _ in range(shape.databases)
        ]
        self.disks = [Flush(calendar, costs.flush) for _ in range(shape.databases)]
        self.hosts = [
            Station(calendar, shape.worker_cores, lambda: cpu(costs.worker_step))
            for _ in range(shape.workers)
        ]
        part, rest = divmod(shape.limit, shape.roots)
        self.roots = [Root(part + (n < rest), Lock(calendar)) for n in range(shape.roots)]
        self.purses = [Purse(number) for number in range(shape.workers)]
        row = costs.database_row + costs.collector_row
        self.collectors = [
            Collector(calendar, shape.batch, row) for _ in range(shape.collectors or shape.workers)
        ]
        self.steps = [0] * shape.agents
        self.final = bytearray(shape.agents)
        self.done = self.draws = self.refused = self.repeated = 0
        self.billed = self.doubt = 0
        self.waited = 0.0
        for agent in range(shape.agents):
            first = calendar.chance.random() * (shape.think or 1e-9)
            self.purses[agent % shape.workers].at_work += 1
            calendar.after(first, self._begin, Call(agent, 0))
        for number in range(shape.drawn):
            self._draw_beforehand(self.purses[number % shape.workers])
        for _ in range(shape.kills):
            when = calendar.chance.random() * shape.think * max(1, shape.steps)
            calendar.after(when, self._kill, calendar.chance.randrange(shape.workers))

    def _draw_beforehand(self, purse: Purse) -> None:
        root = purse.worker % self.shape.roots
        purse.free += self.shape.worst
        purse.owed[root] = purse.free
        self.roots[root].change(spent=0, held=self.shape.worst)

    def run(self, until: float = float("inf")) -> None:
        self.calendar.run(until)
        for station in (*self.databases, *self.hosts):
            station.look()

    @property
    def spent(self) -> int:
        """What all have been billed or charged, whether a root row knows of it or not."""
        return sum(root.spent for root in self.roots) + sum(purse.used for purse in self.purses)

    @property
    def over(self) -> int:
        """By how much a root was above its limit at any time, in tokens."""
        return sum(max(0, root.most - root.limit) for root in self.roots)

    @property
    def ended(self) -> int:
        """How many agents have made all their steps, or were refused."""
        return sum(self.final)

    @property
    def uncollected(self) -> int:
        return sum(one.left for one in self.collectors)

    # --- a step -----------------------------------------------------------------------------

    def _begin(self, call: Call) -> None:
        purse = self.purses[call.agent % self.shape.workers]
        if call.life != purse.life:
            return
        if purse.free >= self.shape.worst and not purse.waiting:
            self._hold(purse, call)
            return
        purse.waiting.append(call)
        if not purse.drawing:
            self._draw(Draw(purse, purse.life, purse.worker % self.shape.roots, 0))

    def _hold(self, purse: Purse, call: Call) -> None:
        purse.free -= self.shape.worst
        purse.holds += self.shape.worst
        self.calendar.after(self.calendar.exponential(self.shape.think), self._answered, call)

    def _answered(self, call: Call) -> None:
        if call.life != self.purses[call.agent % self.shape.workers].life:
            return
        host = self.hosts[call.agent % self.shape.workers]
        host.enter(Call(call.agent, call.life, self.calendar.now), self._store)

    def _store(self, call: Call) -> None:
        self.databases[self._database(call.agent)].enter(call, self._written)

    def _written(self, call: Call) -> None:
        self.disks[self._database(call.agent)].enter(call, self._committed)

    def _committed(self, call: Call) -> None:
        purse = self.purses[call.agent % self.shape.workers]
        if call.life != purse.life:  # its owner died, whose commits are fenced off
            return
        self.waited += self.calendar.now - call.since
        bill = self._bill()
        purse.holds -= self.shape.worst
        purse.used += bill
        purse.free += self.shape.worst - bill
        self.billed += bill
        self.done += 1
        self.steps[call.agent] += 1
        self.collectors[call.agent % len(self.collectors)].add(self.costs.rows)
        self._serve(purse)
        if self.shape.steps and self.steps[call.agent] == self.shape.steps:
            self._leave(purse, call)
        else:
            self._begin(call)

    def _bill(self) -> int:
        """`billed` on average, and never above the worst case."""
        return self.calendar.chance.randint(
            2 * self.shape.billed - self.shape.worst, self.shape.worst
        )

    def _database(self, agent: int) -> int:
        return agent % self.shape.workers % self.shape.roots % self.shape.databases

    # --- chunks -----------------------------------------------------------------------------

    def _serve(self, purse: Purse) -> None:
        while purse.waiting and purse.free >= self.shape.worst:
            self._hold(purse, purse.waiting.popleft())

    def _leave(self, purse: Purse, call: Call) -> None:
        """An agent has ended; the last one of a worker gives back what is left, at once."""
        self.final[call.agent] = True
        purse.at_work -= 1
        if not purse.at_work and not purse.drawing:
            self._return(purse)

    def _return(self, purse: Purse) -> None:
        for root, owed in purse.owed.items():
            booked = min(purse.used, owed)
            purse.used -= booked
            purse.free -= owed - booked
            self.roots[root].change(spent=booked, held=-owed)
        purse.owed.clear()

    def _draw(self, draw: Draw) -> None:
        draw.purse.drawing = True
        self.roots[draw.root].lock.take(draw, self._locked)

    def _locked(self, draw: Draw) -> None:
        database = self.databases[draw.root % self.shape.databases]
        database.enter(draw, self._drawn, self.costs.database_chunk)

    def _drawn(self, draw: Draw) -> None:
        self.disks[draw.root % self.shape.databases].enter(draw, self._granted)

    def _granted(self, draw: Draw) -> None:
        root, purse = self.roots[draw.root], draw.purse
        self.draws += 1
        if draw.life == purse.life:
            purse.drawing = False
            self._book(purse, draw.root)
            granted = self._grant(purse, root)
            if granted:
                root.change(spent=0, held=granted)
                purse.owed[draw.root] = purse.owed.get(draw.root, 0) + granted
                purse.free += granted
                self._serve(purse)
            self._ask_again(draw, granted)
        root.lock.free()

    def _grant(self, purse: Purse, root: Root) -> int:
        """A chunk or what is left of the root; 0 where that is not enough for one call."""
        worst = self.shape.worst
        need = max(0, worst - purse.free)
        wanted = max(self.shape.chunk * worst, int(self.shape.share * root.room), need)
        return min(wanted, root.room) if root.room >= need else 0

    def _book(self, purse: Purse, number: int) -> None:
        """Tell a root what was billed of what it gave."""
        booked = min(purse.used, purse.owed.get(number, 0))
        if booked:
            purse.used -= booked
            purse.owed[number] -= booked
            self.roots[number].change(spent=booked, held=-booked)

    def _ask_again(self, draw: Draw, granted: int) -> None:
        purse, roots = draw.purse, self.shape.roots
        if not purse.waiting:
            if not purse.at_work:
                self._return(purse)
            return
        if granted:
            self._draw(draw._replace(tried=0))
        elif draw.tried + 1 < roots:
            self._draw(draw._replace(root=(draw.root + 1) % roots, tried=draw.tried + 1))
        else:
            self._wait_or_refuse(draw._replace(tried=0))

    def _wait_or_refuse(self, draw: Draw) -> None:
        purse = draw.purse
        if not purse.holds:
            self._return(purse)  # too little for a call here, and perhaps not elsewhere
        fits = any(root.room >= self.shape.worst for root in self.roots)
        if fits or any(root.held for root in self.roots):
            purse.drawing = True
            self.calendar.after(self.shape.retry, self._retry, draw)
            return
        self.refused += len(purse.waiting)
        for call in purse.waiting:
            self.final[call.agent] = True
        purse.at_work -= len(purse.waiting)
        purse.waiting.clear()

    def _retry(self, draw: Draw) -> None:
        if draw.life == draw.purse.life:
            self._serve(draw.purse)
            if draw.purse.waiting:
                self._draw(draw)
            else:
                draw.purse.drawing = False
                self._ask_again(draw, 0)

    # --- what goes wrong --------------------------------------------------------------------

    def _kill(self, worker: int) -> None:
        """A worker dies. What it drew is charged in full; its agents go on elsewhere, later."""
        purse = self.purses[worker]
        self.doubt += purse.free + purse.holds
        for root, owed in purse.owed.items():
            self.roots[root].change(spent=owed, held=-owed)
        self.repeated += purse.holds // self.shape.worst
        heir = Purse(worker, at_work=purse.at_work, life=purse.life + 1)
        self.purses[worker] = heir
        purse.life = -1
        for agent in range(worker, self.shape.agents, self.shape.workers):
            if not self.final[agent]:
                self.calendar.after(self.shape.takeover, self._begin, Call(agent, heir.life))
