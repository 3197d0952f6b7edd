"""One goal, several agents: planned, carried out, merged."""

from sashizu_core.supervisor.judging import JUDGE
from sashizu_core.supervisor.merging import Candidate, Merge, Merged, Score, Vote
from sashizu_core.supervisor.planner import PLANNER
from sashizu_core.supervisor.plans import Step, StepPlan, Strategy
from sashizu_core.supervisor.report import StepResult, Supervision
from sashizu_core.supervisor.supervising import supervise

__all__ = [
    "JUDGE",
    "PLANNER",
    "Candidate",
    "Merge",
    "Merged",
    "Score",
    "Step",
    "StepPlan",
    "StepResult",
    "Strategy",
    "Supervision",
    "Vote",
    "supervise",
]
