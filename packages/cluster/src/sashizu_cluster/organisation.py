"""What all runs of a tenant together may spend, as the owner of the database says."""

from __future__ import annotations

from uuid import uuid4

import psycopg
from psycopg import errors
from sashizu_core.errors import UsageError
from sashizu_core.types import UNITS, Limits

from sashizu_cluster.errors import explaining

__all__ = ["limit_organisation"]

_MADE = """
INSERT INTO sashizu.spend_node (id, tenant, path, level, name, lasting, limits, bounds)
VALUES (%(id)s, %(tenant)s, ARRAY[%(id)s], 0, 'organisation', true, '{NULL,NULL,NULL,NULL}', '{}')
ON CONFLICT (tenant) WHERE lasting DO NOTHING
"""
_LIMITED = """
UPDATE sashizu.spend_node SET limits = %s::bigint[] WHERE tenant = %s AND lasting
"""


def limit_organisation(dsn: str, tenant: str, limits: Limits) -> None:
    """Replace the limits above all runs of a tenant, which count from its first run on. Blocks.

    Raises:
        UsageError: more is spent and held already.
        ClusterError: the role may not do it, or the database is not set up.
    """
    counted = [getattr(limits, unit) for unit in UNITS]
    with explaining(dsn), psycopg.connect(dsn, connect_timeout=10) as db:
        db.execute(_MADE, {"id": uuid4(), "tenant": tenant})
        try:
            db.execute(_LIMITED, (counted, tenant))
        except errors.CheckViolation as error:
            raise UsageError(
                f"the runs of tenant {tenant!r} have spent and hold more than that already: "
                "give a larger limit"
            ) from error
