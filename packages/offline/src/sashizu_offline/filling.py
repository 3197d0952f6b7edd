"""Final answers in JSON for the few agents whose schemas rules can fill."""

from __future__ import annotations

from sashizu_core.types import ModelRequest

from sashizu_offline.conversation import Conversation
from sashizu_offline.creating import definition_text, listed_files
from sashizu_offline.plan import Step
from sashizu_offline.planning import plan_text

__all__ = ["filled_step"]

_MOST_FILES = 5_000


def filled_step(request: ModelRequest) -> Step | None:
    """What to do where the answer is asked for in a schema; None where rules can not fill it."""
    from sashizu_core.creation.maker import MAKER
    from sashizu_core.supervisor.planner import PLANNER

    conversation = Conversation.read(request)
    if conversation.brief.agent == PLANNER:
        return Step(answer=plan_text(conversation.brief))
    if conversation.brief.agent != MAKER:
        return None
    looks = conversation.answers("list_files")
    if "list_files" in conversation.tools and not looks:
        return Step((conversation.call(1, "list_files", limit=_MOST_FILES),))
    files = listed_files([look.content for look in looks if not look.is_error])
    return Step(answer=definition_text(conversation.brief, files))
