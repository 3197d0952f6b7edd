"""Runs that are made again from their record, and runs that go on from it."""

from sashizu_core.repeating.fork import fork
from sashizu_core.repeating.going_on import Doubt, WentOn
from sashizu_core.repeating.replay import Replay, replay
from sashizu_core.repeating.resume import resume

__all__ = ["Doubt", "Replay", "WentOn", "fork", "replay", "resume"]
