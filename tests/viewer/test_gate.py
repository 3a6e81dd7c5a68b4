"""Which requests are let through: a pure function of method, target and host."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.viewer.answers import Refused
from pipeline.viewer.gate import Gate, Question

TOKEN, PORT = "a-secret_token", 8080
GATE = Gate(TOKEN, PORT)
HOST = "127.0.0.1:8080"


def status(method: str = "GET", target: str = f"/{TOKEN}/all", hosts: tuple[str, ...] = (HOST,)) -> int:
    """200, or the status of the refusal."""
    try:
        GATE.passed(method, target, hosts)
    except Refused as refused:
        assert refused.line or refused.status == HTTPStatus.NOT_FOUND
        return int(refused.status)
    return 200


def test_the_route_and_the_parameters_of_a_question() -> None:
    question = GATE.passed("GET", f"/{TOKEN}/image/7?size=64&key=ab-0", [HOST])
    assert question == Question("image/7", {"size": "64", "key": "ab-0"})
    assert question.integer("size", 16, 4096) == 64 and question.integer("other", 0, 1) is None
    assert GATE.passed("HEAD", f"/{TOKEN}/", ["LocalHost:8080"]) == Question("", {})


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "",
        "*",
        "/all",
        f"/{TOKEN[:-1]}/all",
        f"/{TOKEN}x/all",
        f"/{TOKEN.upper()}/all",
        f"/all?{TOKEN}",
        f"//{TOKEN}/all",  # whose first part is empty
        f"/x/../{TOKEN}/all",  # nothing is resolved
        "/%61-secret_token/all",  # nothing is decoded
        f"http://{HOST}/{TOKEN}/all",  # the form that proxies are sent
        f"/\udcff{TOKEN}/all",
        "/" + "x" * 8000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("hosts", [(HOST,), ("evil.example",), ()])
def test_without_the_token_nothing_is_said(method: str, target: str, hosts: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as caught:
        GATE.passed(method, target, hosts)
    assert caught.value.status == HTTPStatus.NOT_FOUND and caught.value.line == ""


@given(st.text())
def test_no_other_text_is_the_token(text: str) -> None:
    assert status(target=f"/{text}/") == (200 if text == TOKEN else 404)


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("evil.example:8080",),
        ("127.0.0.1:8081",),
        ("127.0.0.1",),
        ("127.0.0.1.evil.example:8080",),
        ("evil.example@127.0.0.1:8080",),
        ("0.0.0.0:8080",),
        ("[::1]:8080",),
        (HOST, HOST),  # two headers: a proxy may have read the other one
    ],
)
def test_a_request_for_another_host_is_refused(hosts: tuple[str, ...]) -> None:
    assert status(hosts=hosts) == HTTPStatus.FORBIDDEN


def test_browsers_leave_the_default_port_out() -> None:
    assert Gate(TOKEN, 80).passed("GET", f"/{TOKEN}/", ["localhost"]) == Question("", {})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get", ""])
def test_only_get_and_head_are_answered(method: str) -> None:
    assert status(method) == HTTPStatus.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    "query", ["size", "size=1&size=2", "&", "a=1&" * 9 + "b=1", "size=1;DROP=1&", "=&", "a=1&&b=2"]
)
def test_parameters_that_cannot_be_read_are_refused(query: str) -> None:
    with pytest.raises(Refused) as caught:
        GATE.passed("GET", f"/{TOKEN}/all?{query}", [HOST]).check_names()
    assert caught.value.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "text", ["", "15", "4097", "-16", "+16", "016", "1e2", "16.0", " 16", "0x10", "१६", "9" * 400, "nan"]
)
def test_a_number_is_an_integer_in_its_range(text: str) -> None:
    with pytest.raises(Refused, match=r"^size is .*, expected an integer from 16 to 4096$"):
        Question("image/0", {"size": text}).integer("size", 16, 4096)
