"""Errors and embeddings of the /v1 routes, as the official Python client raises and reads them."""

import base64
import math
import signal
import struct

import openai
import pytest

from sdk import ASK, SHORT, client_for
from support import in_background, long_text, wait_until

TOKEN = "another-token-of-more-than-sixteen"


@pytest.fixture
def client(worker, api):
    with client_for(worker) as made:
        yield made


BAD_REQUESTS = [
    ("temperature past 2", {"temperature": 2.5}, "temperature"),
    ("top_p past 1", {"top_p": 1.5}, "top_p"),
    ("no tokens wanted", {"max_tokens": 0}, "max_tokens"),
    ("two choices", {"n": 2}, "n"),
    ("too many alternatives", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ("alternatives without logprobs", {"top_logprobs": 2}, "top_logprobs"),
    ("too many stop strings", {"stop": ["a"] * 17}, "stop"),
    ("no messages", {"messages": []}, "messages"),
    ("a role that is none", {"messages": [{"role": "emperor", "content": "a"}]}, "messages"),
    ("an image", {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}, "messages"),
    ("a tool without a name", {"tools": [{"type": "function", "function": {"parameters": {}}}]}, "tools"),
    ("a tool that is not among them", {"tools": [{"type": "function", "function": {"name": "a"}}],
                                       "tool_choice": {"type": "function", "function": {"name": "b"}}},
     "tool_choice"),
    ("a format that is none", {"response_format": {"type": "xml"}}, "response_format"),
    ("a schema that is none", {"response_format": {
        "type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}},
     "response_format"),
]


# clause: E-2, E-3, W-33
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fields,param", [row[1:] for row in BAD_REQUESTS],
                         ids=[row[0] for row in BAD_REQUESTS])
def test_a_bad_request_raises_bad_request_error(client, fields, param, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"messages": ASK, **SHORT, **fields}, stream=stream)
    error = caught.value
    assert error.status_code == 400 and error.type == "invalid_request_error"
    assert error.param.startswith(param), error.param
    assert error.body["message"]


# clause: E-2
def test_all_violations_are_beside_the_openai_error(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**SHORT, "messages": ASK, "temperature": 9, "top_p": 9})
    fields = {error["field"] for error in caught.value.response.json()["errors"]}
    assert fields >= {"temperature", "top_p"}


# clause: W-18, W-38, E-2
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_prompt_that_is_too_long_is_a_bad_request_before_any_frame(client, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(messages=[{"role": "user", "content": long_text(4000)}],
                                       stream=stream, **SHORT)
    assert caught.value.code == "context_length_exceeded"


# clause: E-2
def test_an_unknown_route_raises_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.get("/no/such/route", cast_to=object)
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="hello")


# clause: W-6, E-2
def test_a_wrong_key_raises_authentication_error(fresh_worker):
    worker = fresh_worker("--slots", 1, "--ctx-tokens", 256,
                          environment={"LLORCH_WORKER_TOKEN": TOKEN})
    with client_for(worker, api_key="wrong") as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(messages=ASK, **SHORT)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
    with client_for(worker, api_key=TOKEN) as known:
        assert known.chat.completions.create(messages=ASK, **SHORT).usage.completion_tokens == 16


# clause: W-17, E-2
def test_a_full_queue_raises_rate_limit_error_and_a_retry_succeeds(narrow_worker, narrow):
    with client_for(narrow_worker) as client, narrow.open(prompt="Hold", max_tokens=3500,
                                                         ignore_eos=True) as holder:
        holder.until("token")
        waiting = in_background(narrow.execute, job_id="waiting", prompt="Wait", max_tokens=1)
        wait_until(lambda: narrow.health()["queue_depth"] == 1, "one job waits")
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(messages=ASK, **SHORT)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.response.headers["x-should-retry"] == "true"
        retried = in_background(client.with_options(max_retries=8).chat.completions.create,
                                messages=ASK, **SHORT)
        narrow.cancel("waiting")
        narrow.cancel(holder.job_id)
        assert retried.result(60).usage.completion_tokens == 16
        waiting.result(10)


# clause: W-42, E-2
def test_a_draining_worker_raises_internal_server_error_503(fresh_worker):
    worker = fresh_worker("--slots", 1)
    with worker.api.open(prompt="Hold", max_tokens=3000, ignore_eos=True) as job:
        job.until("token")
        worker.signal(signal.SIGTERM)
        wait_until(lambda: worker.api.health()["status"] == "draining", "draining", 2)
        with client_for(worker) as client, pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(messages=ASK, **SHORT)
        assert caught.value.status_code == 503
        worker.signal(signal.SIGTERM)
        worker.wait_exit(5)


# --- embeddings ----------------------------------------------------------------------------------

def norm(vector):
    return math.sqrt(sum(value * value for value in vector))


def cosine(first, second):
    return sum(a * b for a, b in zip(first, second)) / (norm(first) * norm(second))


# clause: W-37
def test_embeddings_are_normalised_and_keep_their_order(client):
    inputs = ["A cat sits on the mat.", "Der Himmel ist blau.", "🔥"]
    reply = client.embeddings.create(model="any", input=inputs)
    assert [row.index for row in reply.data] == [0, 1, 2]
    assert reply.model == "smollm2" and reply.object == "list"
    assert {len(row.embedding) for row in reply.data} == {576}
    assert all(norm(row.embedding) == pytest.approx(1, abs=1e-3) for row in reply.data)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 10
    for text, row in zip(inputs, reply.data):
        alone = client.embeddings.create(model="any", input=text).data[0].embedding
        assert cosine(alone, row.embedding) > 0.999
    assert cosine(reply.data[0].embedding, reply.data[1].embedding) < 0.999


# clause: W-37
def test_embeddings_as_floats_and_as_base64_are_the_same_numbers(client):
    fields = {"model": "any", "input": "The sea."}
    floats = client.embeddings.create(encoding_format="float", **fields).data[0].embedding
    text = client.embeddings.create(encoding_format="base64", **fields).data[0].embedding
    packed = base64.b64decode(text)
    assert struct.unpack(f"<{len(packed) // 4}f", packed) == pytest.approx(tuple(floats), abs=1e-6)


# clause: W-37
def test_dimensions_shorten_and_normalise_again(client):
    whole = client.embeddings.create(model="any", input="The sea.").data[0].embedding
    short = client.embeddings.create(model="any", input="The sea.", dimensions=64).data[0].embedding
    assert len(short) == 64 and norm(short) == pytest.approx(1, abs=1e-3)
    assert cosine(short, whole[:64]) > 0.999


BAD_EMBEDDINGS = [
    ("token ids", {"input": [1, 2, 3]}, "check_embedding_ctx_length"),
    ("lists of token ids", {"input": [[1, 2], [3]]}, "check_embedding_ctx_length"),
    ("nothing", {"input": []}, "input"),
    ("an empty string", {"input": ""}, "input"),
    ("too many inputs", {"input": ["a"] * 2049}, "2048"),
    ("too many dimensions", {"input": "a", "dimensions": 577}, "576"),
    ("no dimension", {"input": "a", "dimensions": 0}, "dimensions"),
    ("an input past the context", {"input": long_text(4000)}, "2048"),
]


# clause: W-37, E-2, E-3
@pytest.mark.parametrize("fields,says", [row[1:] for row in BAD_EMBEDDINGS],
                         ids=[row[0] for row in BAD_EMBEDDINGS])
def test_a_bad_embedding_request_says_what_is_wrong(client, fields, says):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="any", **fields)
    assert says in str(caught.value)
    assert caught.value.response.json()["errors"]


# clause: W-37
def test_many_embeddings_in_one_request(client):
    reply = client.embeddings.create(model="any", input=[f"Item {number}" for number in range(100)])
    assert len(reply.data) == 100
