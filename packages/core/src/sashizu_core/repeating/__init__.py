"""Runs that are made again from their record, and runs that go on from it."""

from sashizu_core.repeating.replay import Replay, replay

__all__ = ["Replay", "replay"]
