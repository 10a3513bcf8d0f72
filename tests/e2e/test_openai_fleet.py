"""What the OpenAI routes over the fleet add: aliases, the flex tier, queue comments and headers."""

import concurrent.futures

import openai
import pytest

from support import REPLY_S, wait_until

MESSAGES = [{"role": "user", "content": "Hi"}]


def client_of(boss):
    return openai.OpenAI(base_url=boss.url + "/v1", api_key="none", timeout=REPLY_S, max_retries=0)


@pytest.fixture
def aliased(fleet, tmp_path):
    """A fleet in which gpt-4o-mini stands for fake."""
    config = tmp_path / "llorch.toml"
    config.write_text('[aliases]\n"gpt-4o-mini" = "fake"\n"gone" = "not-served"\n')
    return fleet(environment={"LLORCH_CONFIG": config})


# clause: O-35
def test_an_alias_is_its_model_everywhere(aliased):
    with client_of(aliased) as client:
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=3)
        assert reply.model == "fake" and len(reply.choices[0].message.content) == 3
        assert client.completions.create(model="gpt-4o-mini", prompt="x", max_tokens=2).model == "fake"
        assert [model.id for model in client.models.list()] == ["fake", "gpt-4o-mini"]
        assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
        with pytest.raises(openai.NotFoundError, match="meant gpt-4o-mini"):
            client.chat.completions.create(model="gpt-4o-minni", messages=MESSAGES)
        with pytest.raises(openai.NotFoundError, match="meant fake"):
            client.models.retrieve("fakee")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gone", messages=MESSAGES)
    job = aliased.submit(model="gpt-4o-mini", prompt="x", max_tokens=2)
    assert aliased.answer(job).end["tokens_out"] == 2
    assert aliased.api.get(f"/v2/tasks/{job}").json()["model"] == "fake"


def chat(client, **fields):
    return client.chat.completions.with_raw_response.create(
        model="fake", messages=MESSAGES, **{"max_tokens": 2} | fields)


# clause: O-36
def test_flex_is_batch_and_the_header_wins(fleet):
    boss = fleet()

    def priority_of(**fields):
        with client_of(boss) as client:
            reply = chat(client, **fields)
        return boss.api.get(f"/v2/explain/{reply.parse().id}").json()["job"]["priority"]
    assert priority_of() == "interactive"
    assert priority_of(service_tier="auto") == "interactive"
    assert priority_of(service_tier="flex") == "batch"
    assert priority_of(service_tier="flex", extra_headers={"X-Llorch-Priority": "interactive"}) == "interactive"


# clause: O-36
def test_a_full_queue_says_when_to_come_back(fleet):
    boss = fleet(flags=("--queue-capacity", "1"), slots=1, step_us=20_000)
    for _ in range(3):  # the slot, the place behind it, the queue
        boss.submit(model="fake", prompt="x", max_tokens=4000)
    with client_of(boss) as client, pytest.raises(openai.RateLimitError) as refused:
        chat(client)
    headers = refused.value.response.headers
    assert int(headers["x-backoff-ms"]) == int(headers["retry-after-ms"]) > 0
    assert int(headers["retry-after"]) >= 1 and headers["x-should-retry"] == "true"


# clause: O-36, O-9
def test_a_waiting_stream_shows_its_place(fleet):
    boss = fleet(slots=1, step_us=20_000)
    busy = [boss.submit(model="fake", prompt="x", max_tokens=4000) for _ in range(3)]
    body = {"model": "fake", "messages": MESSAGES, "max_tokens": 2, "stream": True}
    comments, text = [], ""
    with boss.api.http.stream("POST", "/v1/chat/completions", json=body) as response:
        place = response.headers["x-queue-position"]  # before the long one that waits, or behind it
        assert place in ("1", "2")
        for line in response.iter_lines():
            if line.startswith(": queued"):
                comments.append(line)
                if len(comments) == 2:  # the first at once, the next as time goes by
                    for job in busy:
                        boss.api.cancel(job)
            text += line
    assert all(comment.startswith(f": queued position={place} eta_ms=") for comment in comments[:2])
    assert len(comments) >= 2 and text.endswith("[DONE]")


# clause: O-36, O-9
def test_a_whole_reply_tells_how_long_it_waited(fleet):
    boss = fleet(slots=1, step_us=20_000)
    busy = [boss.submit(model="fake", prompt="x", max_tokens=4000) for _ in range(2)]
    with client_of(boss) as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        reply = pool.submit(chat, client)
        wait_until(lambda: boss.api.get("/health").json()["queue_depth"] == 1, "it waits")
        for job in busy:
            boss.api.cancel(job)
        headers = reply.result(REPLY_S).headers
        assert headers["x-queue-position"] == "1" and int(headers["x-queue-wait-ms"]) > 0
        at_once = chat(client).headers
    assert at_once["x-queue-position"] == "0" and int(at_once["x-queue-wait-ms"]) < 1000
