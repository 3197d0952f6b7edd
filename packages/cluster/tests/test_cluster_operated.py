"""What the manual says of looking after a cluster: TLS, roles and backups."""

import os
import subprocess
from contextlib import closing

import psycopg
import pytest
import trustme
from sashizu_cluster.database import Database
from sashizu_cluster.engine import EngineClient, set_up_engine
from sashizu_cluster.errors import ClusterError
from sashizu_cluster.schema import check_cluster, grant_tenant, set_up
from sashizu_cluster.spending import SharedSpend
from sashizu_cluster.testing import NOBODY, TemporaryPostgres, temporary_postgres
from sashizu_core.types import Amount, Limits

pytestmark = pytest.mark.postgres

NODE = "0" * 31 + "1"


@pytest.fixture(scope="module")
def secure():
    """A server of its own that takes its TLS connections with a certificate for localhost."""
    authority = trustme.CA()
    with temporary_postgres() as server:
        issued = authority.issue_cert("localhost")
        files = {"server.key": issued.private_key_pem, "server.crt": issued.cert_chain_pems[0]}
        for name, made in files.items():
            path = server.folder / "data" / name
            path.write_bytes(made.bytes())
            path.chmod(0o600)
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        _execute(server, "ALTER SYSTEM SET ssl = on", "CREATE ROLE remote LOGIN")
        (server.folder / "data/pg_hba.conf").write_text(
            "local all all trust\nhostssl all remote 127.0.0.1/32 trust\n", "ascii"
        )
        server.restart()
        yield server, authority


def _execute(server: TemporaryPostgres, *statements: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as db:
        for statement in statements:
            db.execute(statement.encode())


def test_workers_reach_the_database_over_tls_and_know_whom_they_talk_to(secure, tmp_path):
    server, authority = secure
    name = server.create_database()
    set_up(server.dsn(name))
    set_up_engine(server.dsn(name), "a")
    grant_tenant(server.dsn(name), "remote", "a")
    set_up_engine(server.dsn(name), "a", "remote")
    theirs, others = tmp_path / "ca.crt", tmp_path / "other.crt"
    authority.cert_pem.write_to_path(str(theirs))
    trustme.CA().cert_pem.write_to_path(str(others))

    def dsn(ca: object) -> str:
        return (
            f"host=localhost hostaddr=127.0.0.1 port={server.port} user=remote dbname={name} "
            f"sslmode=verify-full sslrootcert={ca}"
        )

    assert check_cluster(dsn(theirs)).name == "default"
    client = EngineClient(dsn(theirs), "a", "1")
    assert client.left_by("a-0") == []
    client.close()
    with pytest.raises(ClusterError, match="certificate verify failed"):
        check_cluster(dsn(others))
    with pytest.raises(ClusterError, match=r"pg_hba\.conf"):
        check_cluster(dsn(theirs).replace("verify-full", "disable"))


def test_a_backup_has_the_state_of_its_moment_and_can_be_gone_on_from(postgres, tmp_path):
    name, later = postgres.create_database(), postgres.create_database()
    before = set_up(postgres.dsn(name))
    dump = tmp_path / "sashizu.dump"

    with closing(Database(postgres.dsn(name))) as database:
        spend = SharedSpend(database, "default-0")
        run = spend.open(NODE, "run", Limits(tokens=1000))
        spend.reserve("step", run, Amount(tokens=400))
        _run(postgres, "pg_dump", "--format=custom", f"--file={dump}", postgres.dsn(name))
        spend.reserve("next", run, Amount(tokens=600))
    _run(postgres, "pg_restore", f"--dbname={postgres.dsn(later)}", str(dump))

    assert check_cluster(postgres.dsn(later)) == before
    with closing(Database(postgres.dsn(later))) as database:
        restored = SharedSpend(database, "default-0")
        assert restored.state(run).held.tokens == 400
        assert restored.take_over("default-0") == 1
        assert restored.state(run).spent.tokens == 400


def _run(postgres: TemporaryPostgres, program: str, *words: str) -> None:
    done = subprocess.run(
        [str(postgres.programs / program), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
