"""Other people's OpenAI-compatible servers beside our workers: they answer under our names, come after
our own, are tried again only before the first token, and never see more than their slots."""

import concurrent.futures
import json
import pathlib
import subprocess

import httpx
import openai
import pytest

from fake_openai import WORDS, FakeOpenAI, Plan
from support import REPLY_S, clean_environment, free_port, repository, wait_until

MESSAGES = [{"role": "user", "content": "Hi"}]
ANSWER = "".join(WORDS)


@pytest.fixture
def other():
    """other(…) → a FakeOpenAI that this test owns."""
    running = []

    def start(**fields):
        running.append(FakeOpenAI(**fields))
        return running[-1]
    yield start
    for server in running:
        server.stop()


@pytest.fixture
def fleet_with(fleet, tmp_path):
    """fleet_with([server, …], workers=0, …) → an Orchestrator with those servers and fake workers."""
    def start(servers, workers=0, settings="", environment=None, wait=True, model="fake", **more):
        text = settings
        for index, server in enumerate(servers):
            fields = {"name": f"lab{index}", "url": server.url, "models": {model: "theirs"}}
            fields |= getattr(server, "settings", {})
            text += "\n[[external]]\n"
            for name, value in fields.items():
                shown = "{ " + ", ".join(f'"{k}" = "{v}"' for k, v in value.items()) + " }" \
                    if isinstance(value, dict) else json.dumps(value)
                text += f"{name} = {shown}\n"
        config = tmp_path / "llorch.toml"
        config.write_text(text)
        boss = fleet(workers=0, environment={"LLORCH_CONFIG": config} | (environment or {}), **more)
        for _ in range(workers):
            fleet.add(boss, slots=1, step_us=20_000)
        return boss.wait_workers(workers + (len(servers) if wait else 0))
    return start


def client_of(boss):
    return openai.OpenAI(base_url=boss.url + "/v1", api_key="none", timeout=REPLY_S, max_retries=0)


def chat(client, **fields):
    return client.chat.completions.create(model="fake", messages=MESSAGES, **fields)


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# clause: O-30, O-31
@pytest.mark.parametrize("stream", [False, True])
def test_it_answers_under_our_names(other, fleet_with, stream):
    lab = other()
    boss = fleet_with([lab])
    with client_of(boss) as client:
        reply = chat(client, stream=stream, **({"stream_options": {"include_usage": True}} if stream else {}))
        chunks = list(reply) if stream else [reply]
    assert (text_of(chunks) if stream else reply.choices[0].message.content) == ANSWER
    assert chunks[-1].usage.completion_tokens == len(WORDS)
    assert {chunk.model for chunk in chunks} == {"fake"}
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].id.startswith("chatcmpl-")
    assert all(chunk.created > 1 and chunk.their_field == 1 for chunk in chunks)
    path, headers, body = lab.posts[0]
    assert path == "/v1/chat/completions" and "authorization" not in headers
    assert body["model"] == "theirs" and "seed" not in body and body["messages"] == MESSAGES
    shown = boss.api.get(f"/v2/explain/{chunks[0].id}").json()
    assert shown["job"]["worker_id"] == "lab0:fake" and shown["job"]["tokens_out"] == len(WORDS)
    assert shown["decisions"][0]["candidates"][0]["external_ms"] > 0


# clause: O-31
def test_completions_and_embeddings_go_there_too(other, fleet_with):
    boss = fleet_with([other()])
    with client_of(boss) as client:
        reply = client.completions.create(model="fake", prompt="x", seed=7)
        assert reply.choices[0].text == ANSWER and reply.model == "fake"
        chunks = list(client.completions.create(model="fake", prompt="x", stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks) == ANSWER
        vectors = client.embeddings.create(model="fake", input=["a", "b"], encoding_format="float")
        assert len(vectors.data) == 2 and vectors.model == "fake" and vectors.usage.prompt_tokens == 7


# clause: O-30
def test_it_is_in_every_list_and_only_the_settings_take_it_away(other, fleet_with):
    lab = other()
    lab.settings = {"fallback": True, "slots": 2}
    boss = fleet_with([lab], workers=1)
    rows = {row["worker_id"]: row for row in boss.api.get("/v2/workers").json()["workers"]}
    assert rows["lab0:fake"]["backend"] == "external" and rows["lab0:fake"]["slots_total"] == 2
    assert rows["lab0:fake"]["external"] is True and rows["lab0:fake"]["fallback"] is True
    assert boss.api.get("/v2/workers/lab0:fake").json()["status"] == "healthy"
    assert boss.api.http.delete("/v2/workers/lab0:fake").status_code == 409
    assert boss.api.post("/workers/lab0:fake/heartbeat", {}).status_code == 404
    models = boss.api.get("/v1/models").json()["data"]
    assert [(row["id"], row["state"]) for row in models] == [("fake", "ready")]


# clause: O-31
def test_a_fallback_serves_only_without_our_own(other, fleet_with):
    lab = other()
    lab.settings = {"fallback": True}
    boss = fleet_with([lab], workers=1)
    with client_of(boss) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        replies = [pool.submit(chat, client, max_tokens=5) for _ in range(4)]  # more than its slot
        assert all(len(reply.result(REPLY_S).choices[0].message.content) == 5 for reply in replies)
        assert lab.posts == []
        boss.workers[0].process.kill()
        boss.workers[0].wait_exit()
        assert chat(client).choices[0].message.content == ANSWER


# clause: O-32
def test_a_death_before_the_first_token_goes_elsewhere(other, fleet_with):
    first, second = other(), other()
    first.plans = second.plans = shared = [Plan(die_after=0)]
    boss = fleet_with([first, second])
    with client_of(boss) as client:
        assert text_of(chat(client, stream=True)) == ANSWER
    assert shared == [] and len(first.posts) == 1 and len(second.posts) == 1


# clause: O-32
def test_the_role_frame_comes_once_also_over_a_retry(other, fleet_with):
    first, second = other(), other()
    first.plans = second.plans = [Plan(die_after=-1)]
    boss = fleet_with([first, second])
    with client_of(boss) as client:
        chunks = list(chat(client, stream=True))
    assert [chunk.choices[0].delta.role for chunk in chunks if chunk.choices].count("assistant") == 1
    assert text_of(chunks) == ANSWER and len(first.posts) == len(second.posts) == 1


# clause: O-32
def test_a_death_after_the_first_token_ends_the_stream_with_an_error(other, fleet_with):
    first, second = other(), other()
    first.plans = second.plans = [Plan(die_after=2)]
    boss = fleet_with([first, second])
    seen = ""
    with client_of(boss) as client, pytest.raises(openai.APIError, match="broke off"):
        for chunk in chat(client, stream=True):
            seen += chunk.choices[0].delta.content or ""
    assert seen == "".join(WORDS[:2]) and len(first.posts) + len(second.posts) == 1


# clause: O-32
def test_a_stream_without_its_last_frames_is_no_whole_answer(other, fleet_with):
    lab = other()
    lab.plans = [Plan(done=False)]
    boss = fleet_with([lab])
    with client_of(boss) as client:
        with pytest.raises(openai.APIError, match="broke off"):
            list(chat(client, stream=True))
        assert chat(client).choices[0].message.content == ANSWER  # it is well again


# clause: O-32
@pytest.mark.parametrize("status, body, raised, match", [
    (400, {"error": {"message": "no such thing as logit_bias"}}, openai.BadRequestError, "logit_bias"),
    (400, {"error": {"message": "long", "type": "exceed_context_size_error"}}, openai.BadRequestError, "long"),
    (404, {"error": {"message": "no model"}}, openai.InternalServerError, "check url and models"),
    (422, {"detail": "x"}, openai.BadRequestError, "422")])
def test_its_refusals_reach_the_client(other, fleet_with, status, body, raised, match):
    lab = other()
    lab.plans = [Plan(status=status, body=body)]
    boss = fleet_with([lab])
    with client_of(boss) as client, pytest.raises(raised, match=match):
        chat(client)
    assert len(lab.posts) == 1


# clause: O-32
def test_a_refusal_is_tried_at_our_own(other, fleet_with):
    lab = other()
    lab.healthy = False
    lab.plans = [Plan(status=400)]
    boss = fleet_with([lab], workers=1, wait=False)
    with client_of(boss) as client, concurrent.futures.ThreadPoolExecutor(2) as pool:
        # The slot of our own, and the place behind it.
        long = [pool.submit(chat, client, max_tokens=50) for _ in range(2)]
        wait_until(lambda: max(row["jobs"] for row in boss.api.get("/v2/workers").json()["workers"]) == 2, "both run")
        lab.healthy = True
        boss.wait_workers(2)
        assert len(chat(client, max_tokens=3).choices[0].message.content) == 3
        assert all(len(reply.result(REPLY_S).choices[0].message.content) == 50 for reply in long)
    assert len(lab.posts) == 1


# clause: O-32
def test_a_full_server_is_left_alone_as_long_as_it_asks(other, fleet_with):
    lab = other()
    lab.plans = [Plan(status=429, headers=(("Retry-After", "1"),)), Plan(status=503)]
    boss = fleet_with([lab])
    with client_of(boss) as client:
        reply = client.chat.completions.with_raw_response.create(model="fake", messages=MESSAGES)
    assert reply.parse().choices[0].message.content == ANSWER and len(lab.posts) == 3


# clause: O-32
def test_a_server_that_hangs_counts_as_stalled(other, fleet_with):
    first, second = other(), other()
    first.plans = second.plans = [Plan(hang_after=0)]
    boss = fleet_with([first, second], flags=("--stall-ms", "300"))
    with client_of(boss) as client:
        assert text_of(chat(client, stream=True)) == ANSWER
    wait_until(lambda: first.left + second.left == 1, "the silent one was left")


# clause: O-31
@pytest.mark.parametrize("hang_after", [0, 2])
def test_a_client_that_leaves_is_gone_there_too(other, fleet_with, hang_after):
    lab = other()
    lab.plans = [Plan(hang_after=hang_after)]
    boss = fleet_with([lab])
    with httpx.Client(base_url=boss.url, trust_env=False, timeout=1.0) as http, \
            pytest.raises(httpx.TimeoutException):
        http.post("/v1/chat/completions", json={"model": "fake", "messages": MESSAGES, "stream": hang_after > 0})
    wait_until(lambda: lab.left == 1, "the server sees us gone")
    wait_until(lambda: boss.api.get("/v2/workers").json()["workers"][0]["jobs"] == 0, "its slot is free")


# clause: O-31
def test_a_slow_reply_is_waited_for(other, fleet_with):
    """A reply that does not stream shows no progress: no stall limit, but the time of a job."""
    lab = other()
    lab.plans = [Plan(gap_s=1.5), Plan(gap_s=0.3)]
    boss = fleet_with([lab], flags=("--stall-ms", "1000"))
    with client_of(boss) as client:
        assert chat(client).choices[0].message.content == ANSWER
        assert text_of(chat(client, stream=True)) == ANSWER


# clause: O-30
def test_it_never_sees_more_than_its_slots(other, fleet_with):
    lab = other()
    lab.settings = {"slots": 2}
    lab.plans = [Plan(gap_s=0.05) for _ in range(8)]
    boss = fleet_with([lab])
    with client_of(boss) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(text == ANSWER for text in pool.map(lambda _: text_of(chat(client, stream=True)), range(8)))
    assert lab.busiest == 2


# clause: O-33
def test_a_task_is_refused_where_nobody_tells_token_ids(other, fleet_with):
    boss = fleet_with([other()])
    reply = boss.api.post("/v2/tasks", {"model": "fake", "prompt": "x"})
    assert reply.status_code == 400 and "takes no tasks" in reply.json()["error"]["message"]


# clause: O-34
def test_its_key_is_sent_and_written_nowhere(other, fleet_with):
    lab = other(key="canary-4711")
    lab.settings = {"key_env": "LAB_KEY"}
    boss = fleet_with([lab], environment={"LAB_KEY": "canary-4711"})
    with client_of(boss) as client:
        assert chat(client).choices[0].message.content == ANSWER
    lab.key = "changed"
    wait_until(lambda: lab.posts, "posted")
    with client_of(boss) as client, pytest.raises(openai.InternalServerError, match="check LAB_KEY"):
        chat(client)
    shown = boss.api.get("/v2/workers").text + boss.api.get("/metrics").text + "".join(boss.output)
    assert "canary" not in shown
    assert all(b"canary" not in path.read_bytes() for path in pathlib.Path(boss.root).rglob("*") if path.is_file())


# clause: O-34
def test_a_sick_server_is_given_nothing_until_it_is_well(other, fleet_with):
    lab = other()
    lab.healthy = False
    boss = fleet_with([lab], wait=False)
    assert boss.api.get("/v2/workers").json()["workers"][0]["status"] == "unhealthy"
    with client_of(boss) as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        reply = pool.submit(chat, client)
        wait_until(lambda: boss.api.get("/health").json()["queue_depth"] == 1, "it waits")
        assert lab.posts == []
        lab.healthy = True
        assert reply.result(REPLY_S).choices[0].message.content == ANSWER


# clause: O-30
@pytest.mark.parametrize("text, why", [
    ('name = "lab"\nurl = "http://lab"', "models"),
    ('name = "l:b"\nurl = "http://lab"\nmodels = ["m"]', "name"),
    ('name = "lab"\nurl = "lab"\nmodels = ["m"]', "url"),
    ('name = "lab"\nurl = "http://lab"\nmodels = ["m"]\nkey_env = "NOT_SET"', "NOT_SET"),
    ('name = "lab"\nurl = "http://lab"\nmodels = ["m"]\nkey = "x"', "unknown key 'external.key'")])
def test_bad_settings_are_refused_at_the_start(bin_dir, tmp_path, text, why):
    config = tmp_path / "llorch.toml"
    config.write_text("[[external]]\n" + text + "\n")
    done = subprocess.run([bin_dir / "orchestratord", "--port", "0"], timeout=30, capture_output=True, text=True,
                          check=False, env=clean_environment(LLORCH_CONFIG=config, LLORCH_ROOT=tmp_path))
    assert done.returncode == 2 and why in done.stderr


# clause: O-30, O-31
def test_the_real_llama_server_joins(fleet_with, model_path, tmp_path):
    found = sorted((repository() / "build/compare/server").rglob("llama-server"))
    if not found:
        pytest.skip("no llama-server in build/compare: bench/compare builds it")
    port = free_port()
    with open(tmp_path / "server.log", "wb") as log:
        process = subprocess.Popen([found[0], "-m", model_path, "--host", "127.0.0.1", "--port", str(port),
                                    "-c", "2048", "-np", "2"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        class Server:
            url = f"http://127.0.0.1:{port}"
            settings = {"models": {"fake": "smollm2"}, "slots": 2}
        boss = fleet_with([Server()])
        with client_of(boss) as client:
            whole = chat(client, max_tokens=8, temperature=0)
            chunks = list(chat(client, max_tokens=8, temperature=0, stream=True,
                               stream_options={"include_usage": True}))
            assert text_of(chunks) == whole.choices[0].message.content != ""
            assert whole.model == "fake" and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 8
            text = client.completions.create(model="fake", prompt="The sky is", max_tokens=4, temperature=0)
            assert text.choices[0].text
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(
                    model="fake", messages=[{"role": "user", "content": "word " * 6000}])
    finally:
        process.terminate()
        process.wait(20)
