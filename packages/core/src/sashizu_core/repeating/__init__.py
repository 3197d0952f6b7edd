"""Runs that are made again from their record, and runs that go on from it."""

from sashizu_core.repeating.replay import Replay, replay
from sashizu_core.repeating.resume import Doubt, Resumed, resume

__all__ = ["Doubt", "Replay", "Resumed", "replay", "resume"]
