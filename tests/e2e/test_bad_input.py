"""Wrong input gets an OpenAI error body with the right status and parameter, and the process keeps serving."""
import json
import socket

import pytest

CHAT = "/v1/chat/completions"
PLAIN = "/v1/completions"
HI = [{"role": "user", "content": "hi"}]

BAD = [
    (CHAT, b"", 400, None),
    (CHAT, b"{", 400, None),
    (CHAT, b"[]", 400, None),
    (CHAT, b'{"messages": "hi"}', 400, "messages"),
    (CHAT, b"\xff\xfe{}", 400, None),
    (CHAT, b"[" * 100000, 400, None),
    (CHAT, {}, 400, "messages"),
    (CHAT, {"messages": []}, 400, "messages"),
    (CHAT, {"messages": [{"role": "user"}], "max_tokens": "ten"}, 400, "max_tokens"),
    (CHAT, {"messages": HI, "temperature": "hot"}, 400, "temperature"),
    (CHAT, {"messages": HI, "temperature": -1}, 400, "temperature"),
    (CHAT, {"messages": HI, "temperature": 2.5}, 400, "temperature"),
    (CHAT, {"messages": HI, "top_p": 0}, 400, "top_p"),
    (CHAT, {"messages": HI, "top_p": 1.5}, 400, "top_p"),
    (CHAT, {"messages": HI, "top_k": -7}, 400, "top_k"),
    (CHAT, {"messages": HI, "max_tokens": 0}, 400, "max_tokens"),
    (CHAT, {"messages": HI, "max_tokens": -5}, 400, "max_tokens"),
    (CHAT, {"messages": HI, "max_tokens": 1000000}, 400, "max_tokens"),
    (CHAT, {"messages": HI, "max_tokens": 1.5}, 400, "max_tokens"),
    (CHAT, {"messages": HI, "seed": "x"}, 400, "seed"),
    (CHAT, {"messages": HI, "stop": 7}, 400, "stop"),
    (CHAT, {"messages": HI, "stop": ["a"] * 99}, 400, "stop"),
    (CHAT, {"messages": HI, "n": 0}, 400, "n"),
    (CHAT, {"messages": HI, "logprobs": True, "top_logprobs": 99}, 400, "top_logprobs"),
    (CHAT, {"messages": HI, "stream_options": {"include_usage": True}}, 400, "stream_options"),
    (CHAT, {"messages": HI, "response_format": {"type": "json_object"}}, 400, "response_format"),
    (CHAT, {"messages": HI, "model": 3}, 400, "model"),
    (CHAT, {"messages": HI, "model": "no-such-model"}, 404, "model"),
    (PLAIN, {}, 400, "prompt"),
    (PLAIN, {"prompt": []}, 400, "prompt"),
    (PLAIN, {"prompt": [1, "a"]}, 400, "prompt"),
    (PLAIN, {"prompt": [-1]}, 400, "prompt"),
    (PLAIN, {"prompt": [99999999]}, 400, "prompt"),
    (PLAIN, {"prompt": "hi", "logprobs": 50}, 400, "logprobs"),
    (PLAIN, {"prompt": "word " * 20000}, 400, "prompt"),
    (PLAIN, {"prompt": "hi", "suffix": "end"}, 400, "suffix"),
]


@pytest.mark.parametrize("path,body,status,param", BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_request(cluster, path, body, status, param):
    got, headers, answer = cluster.request("POST", path, body)
    assert got == status, answer
    error = json.loads(answer)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status and error["message"]
    if param:
        assert error["param"] == param
    assert headers["x-request-id"]


def test_body_over_the_limit(cluster):
    body = {"prompt": "x" * (5 << 20)}
    try:
        status, _, answer = cluster.request("POST", PLAIN, body)
    except (ConnectionError, BrokenPipeError):
        pytest.skip("the connection was closed before the answer could be read")
    assert status == 413
    assert json.loads(answer)["error"]["code"] == 413


@pytest.mark.parametrize("method,path,status", [("GET", "/nothing", 404), ("GET", CHAT, 405), ("POST", "/health", 405)])
def test_unknown_path_and_method(cluster, method, path, status):
    got, _, answer = cluster.request(method, path, b"{}" if method == "POST" else None)
    assert got == status
    assert json.loads(answer)["error"]["code"] == status


def test_null_is_absent_and_unknown_fields_are_ignored(cluster):
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}], "name": None}], "max_tokens": 2,
            "stop": None, "logprobs": None, "seed": None, "perf_metrics_in_response": True, "user": "me"}
    status, _, answer = cluster.request("POST", CHAT, body)
    assert status == 200, answer


@pytest.mark.parametrize("bytes_sent", [
    b"GARBAGE\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 70000 + b"\r\n\r\n",
])
def test_broken_http_is_answered_or_closed(cluster, bytes_sent):
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=10) as connection:
        try:
            connection.sendall(bytes_sent)
            head = connection.recv(64)
        except ConnectionError:
            head = b""
        assert head == b"" or head.split()[1] in (b"400", b"413", b"431", b"501"), head
    assert cluster.request("GET", "/health")[0] == 200


def test_everything_still_works(cluster):
    ids, _ = cluster.complete("The capital of France is", 4)
    assert len(ids) == 4
    assert all(p.popen.poll() is None for p in [cluster.router, *cluster.workers.values()])
