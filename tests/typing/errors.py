"""What a type checker must find: each line marked `E:` has exactly that error, no other has any."""

from sashizu_core import AgentReport, Limits, Outcome, Task, delegate, delegate_parallel
from sashizu_core.protocols import Budget, BudgetNode, EventSink, Model
from sashizu_core.types import Amount, Usage


class HalfASink:
    persistent = True


def values(report: AgentReport) -> None:
    Task()  # E: call-arg
    Task("a", goals="b")  # E: call-arg
    Task("a").agent = "b"  # E: misc
    Limits(tokens="many")  # E: arg-type
    Usage(1, 2) + 3  # E: operator
    report.outcome = Outcome.ANSWERED  # E: misc
    print(report.answers)  # E: attr-defined


def protocols(budget: Budget, node: BudgetNode) -> None:
    sink: EventSink = HalfASink()  # E: assignment
    model: Model = sink  # E: assignment
    node.reserve(Amount(tokens=1)).settle(Amount())  # E: union-attr
    budget.root("run")  # E: call-arg
    node.reserve(10)  # E: arg-type
    print(model)


async def calls() -> None:
    delegate(Task("a"))  # E: unused-coroutine
    await delegate_parallel(Task("a"))  # E: arg-type
    await delegate_parallel([Task("a")], budget=60_000)  # E: arg-type
    await delegate_parallel([Task("a")], ".")  # E: call-arg
