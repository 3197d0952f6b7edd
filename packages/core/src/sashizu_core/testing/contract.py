"""What every contract suite has in common."""

from __future__ import annotations

__all__ = ["Contract"]


class Contract:
    """The base of the suites: a class of tests to inherit, with fixtures to override.

    A test that does not hold for a plugin may be overridden only to be marked
    `pytest.mark.xfail(reason=...)`, so that every gap is written down.
    """

    def test_no_inherited_test_is_overridden(self) -> None:
        silenced = [
            f"{owner.__name__}.{name}"
            for owner, name in _overridden(type(self))
            if not _is_expected_to_fail(vars(owner)[name])
        ]
        assert not silenced, (
            f"{', '.join(silenced)} override tests of a contract: "
            "mark them with pytest.mark.xfail(reason=...), or give them other names"
        )


def _overridden(suite: type) -> list[tuple[type, str]]:
    """The tests that a class redefines although a contract has them, with the class that does."""
    family = [cls for cls in suite.__mro__ if issubclass(cls, Contract)]
    return [
        (owner, name)
        for position, owner in enumerate(family)
        for name in vars(owner)
        if name.startswith("test_")
        and any(name in vars(ancestor) for ancestor in family[position + 1 :])
    ]


def _is_expected_to_fail(test: object) -> bool:
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
