"""A password is shown nowhere."""

from __future__ import annotations

import pytest

from compat_spec.results import ResultsError, open_results, without_password


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:geheim@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("--results=postgresql+psycopg://me:ge:he/im@host/db", "--results=postgresql+psycopg://me:***@host/db"),
        ("postgresql://:geheim@/db?host=/tmp", "postgresql://:***@/db?host=/tmp"),
        (
            "postgresql:///db?user=me&password=geheim&sslpassword=geheim",
            "postgresql:///db?user=me&password=***&sslpassword=***",
        ),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("sqlite:////tmp/results.db", "sqlite:////tmp/results.db"),
        ("models.two.train.lr=1e-3", "models.two.train.lr=1e-3"),
        ("results.db", "results.db"),
        ("http://me:ge@he@im@host:5000/a@b", "http://me:***@host:5000/a@b"),
        ("http://host:5000/x does not answer, ask a@b", "http://host:5000/x does not answer, ask a@b"),
        ("http://me:42@host, not http://you:ge heim@there", "http://me:***@host, not http://you:***@there"),
    ],
)
def test_a_password_is_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert without_password(text) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geheim@host:port/db",
        "mysql://me:geheim@host/db",
        "what://me:geheim@host/db?password=geheim",
        "postgresql+psycopg://me:geheim@127.0.0.1:1/db?nonsense=geheim&password=geheim",
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_url_that_leads_nowhere_is_named_without_its_password(url: str, create: bool) -> None:
    with pytest.raises(ResultsError) as error:
        open_results(url, create=create)
    assert "me:***@" in str(error.value)
    assert "geheim" not in str(error.value).replace("nonsense=geheim", "")
