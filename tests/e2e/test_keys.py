"""Keys of orchestratord: roles, tenants, limits, revocation; the real programs over fake workers."""

import itertools
import json
import re
import signal
import time

import openai
import pytest

from support import REPLY_S, Api, in_background, repository, wait_until

TOKEN = "a-token-of-16-characters"
ROUTE = re.compile(r'Route\{"([A-Z]+)",\s*"([^"]+)",\s*Role::(\w+)')


@pytest.fixture
def guarded(fleet):
    """guarded(workers=…, …) → an Orchestrator with keys on, spoken to with its admin token."""
    def start(*, environment=None, **more):
        return fleet(environment={"LLORCH_API_TOKEN": TOKEN} | (environment or {}),
                     LLORCH_API_TOKEN=TOKEN, **more)
    return start


@pytest.fixture
def as_key():
    """as_key(boss, secret) → its routes for someone with that key."""
    opened = []

    def open_it(boss, secret):
        opened.append(Api(boss.url, secret))
        return opened[-1]
    yield open_it
    for api in opened:
        api.close()


def made(boss, name, **fields):
    reply = boss.api.post("/v2/keys", {"name": name, **fields})
    assert reply.status_code == 201, reply.text
    return reply.json()


def task(api, **fields):
    return api.post("/v2/tasks", {"model": "fake", "prompt": "Hello", "max_tokens": 3} | fields)


def code_of(reply):
    return reply.json()["error"]["code"]


def follow(api, job):
    return api.get(f"/v2/tasks/{job}/events").text


# clause: O-20, O-21
def test_every_route_takes_the_keys_of_its_role_and_no_others(guarded, as_key):
    boss = guarded(workers=0)
    source = (repository() / "src/orchestrator/routes.cpp").read_text()
    routes = ROUTE.findall(source)
    assert len(routes) > 25 and {role for _, _, role in routes} == {"open", "client", "worker", "admin"}
    keys = {role: made(boss, role, role=role)["key"] for role in ("admin", "client", "worker")}
    keys |= {"none": None, "wrong": "llk_nobody_" + "0" * 64}
    callers = {name: as_key(boss, secret) for name, secret in keys.items()}
    for (method, path, role), (name, api) in itertools.product(routes, callers.items()):
        status = api.http.request(method, path.replace("{}", "nobody")).status_code
        if role == "open" or name in ("admin", role):
            assert status not in (401, 403), f"{method} {path} as {name}: {status}"
        else:
            assert status == (401 if name in ("none", "wrong") else 403), f"{method} {path} as {name}"


# clause: O-22
def test_a_secret_is_shown_once_and_stored_as_a_hash(guarded, as_key):
    boss = guarded(workers=0)
    key = made(boss, "ci", tenant="acme", models=["fake"], tokens_per_minute=60, expires_in_s=3600)
    assert key["key"].startswith("llk_" + key["key_id"]) and key["status"] == "active"
    listed = boss.api.get("/v2/keys")
    assert key["key"] not in listed.text and "hash" not in listed.text
    (row,) = listed.json()["keys"]
    assert row == {name: value for name, value in key.items() if name != "key"}
    assert row["expires_at"] > row["created_at"] and row["role"] == "client"
    bad = boss.api.post("/v2/keys", {"name": "", "role": "root", "secret": "mine"})
    assert bad.status_code == 400
    assert {violation["field"] for violation in bad.json()["errors"]} == {"name", "role", "secret"}
    boss.signal(signal.SIGTERM)
    boss.wait_exit()
    files = [path for path in boss.root.rglob("*") if path.is_file()]
    assert any(row["key_id"].encode() in path.read_bytes() for path in files)
    secret = key["key"].rsplit("_", 1)[1].encode()
    assert not [path for path in files if secret in path.read_bytes()], "the secret is on the disk"


# clause: O-23
def test_a_tenants_jobs_are_its_own(guarded, as_key):
    boss = guarded(slots=2, step_us=10_000)
    acme, other = (as_key(boss, made(boss, name)["key"]) for name in ("acme", "other"))
    mate = as_key(boss, made(boss, "mate", tenant="acme")["key"])
    job = task(acme, max_tokens=200).json()["job_id"]
    for reply in (other.get(f"/v2/tasks/{job}"), other.get(f"/v2/tasks/{job}/events"),
                  other.get(f"/v2/explain/{job}"), other.post(f"/v2/tasks/{job}/cancel"),
                  other.http.delete(f"/v2/tasks/{job}"), other.post("/cancel", {"job_id": job})):
        assert reply.status_code == 404 and code_of(reply) == "JOB_NOT_FOUND"
        assert "acme" not in reply.text
    assert other.get("/v2/tasks").json()["jobs"] == []
    for api in (acme, mate, boss.api):
        assert [row["job_id"] for row in api.get("/v2/tasks").json()["jobs"]] == [job]
        shown = api.get(f"/v2/tasks/{job}").json()
        assert shown["tenant"] == "acme" and shown["status"] in ("queued", "dispatched", "running")
    assert mate.post("/cancel", {"job_id": job}).json()["status"] == "cancelled"
    chat = acme.post("/v1/completions", {"model": "fake", "prompt": "x", "max_tokens": 2})
    explained = f"/v2/explain/{chat.headers['x-request-id']}"
    assert acme.get(explained).json()["job"]["tenant"] == "acme"
    assert other.get(explained).status_code == 404


# clause: O-23
def test_another_tenant_in_the_body_is_refused(guarded, as_key):
    boss = guarded()
    acme = as_key(boss, made(boss, "acme")["key"])
    refused = task(acme, tenant="other")
    assert refused.status_code == 403 and code_of(refused) == "FORBIDDEN"
    assert task(acme, tenant="acme").status_code == 202
    by_admin = task(boss.api, tenant="other").json()["job_id"]
    assert boss.api.get(f"/v2/tasks/{by_admin}").json()["tenant"] == "other"
    headers = {"Idempotency-Key": "k1"}
    other = as_key(boss, made(boss, "other")["key"])
    body = {"model": "fake", "prompt": "x", "max_tokens": 2}
    mine, theirs = (api.post("/v2/tasks", body, headers=headers).json()["job_id"] for api in (acme, other))
    assert mine != theirs  # an idempotency key is of a tenant, too


# clause: O-24
def test_models_and_priorities_are_those_of_the_key(guarded, fleet, as_key):
    boss = guarded()
    fleet.add(boss, model="spare", LLORCH_API_TOKEN=TOKEN)
    boss.wait_workers(2)
    key = made(boss, "n", models=["fake", "absent"], highest_priority="batch")["key"]
    api = as_key(boss, key)
    assert [model["id"] for model in api.get("/v1/models").json()["data"]] == ["fake"]
    assert api.get("/v1/models/spare").status_code == 404 and api.get("/v1/models/fake").status_code == 200
    with openai.OpenAI(base_url=boss.url + "/v1", api_key=key, timeout=REPLY_S, max_retries=0) as client:
        assert client.completions.create(model="fake", prompt="x", max_tokens=2).choices[0].text
        for model in ("spare", "absent", "fakee"):
            with pytest.raises(openai.NotFoundError) as refused:
                client.completions.create(model=model, prompt="x")
            assert "spare" not in str(refused.value).replace("no model 'spare'", "")
        with pytest.raises(openai.PermissionDeniedError, match="batch jobs only"):
            client.completions.create(model="fake", prompt="x",
                                      extra_headers={"X-Llorch-Priority": "interactive"})
    spare = task(api, model="spare")
    assert spare.status_code == 404 and code_of(spare) == "MODEL_NOT_FOUND"
    assert task(api, priority="interactive").status_code == 403
    for fields in ({}, {"priority": "batch"}):
        job = task(api, **fields).json()["job_id"]
        assert api.get(f"/v2/tasks/{job}").json()["priority"] == "batch"


# clause: O-25
def test_tokens_that_were_used_are_waited_for(guarded, as_key):
    boss = guarded()
    key = made(boss, "n", tokens_per_minute=600)  # 10 a second
    api = as_key(boss, key["key"])
    for max_tokens in (1, 640):  # much less, then more than a minute's worth
        job = task(api, max_tokens=max_tokens).json()["job_id"]
        follow(api, job)
        wait_until(lambda job=job: api.get(f"/v2/tasks/{job}").json()["status"] == "completed", "it ends")
    refused = [task(api), api.post("/v1/completions", {"model": "fake", "prompt": "x"})]
    for reply in refused:
        assert reply.status_code == 429, reply.text
        assert 0 < int(reply.headers["retry-after-ms"]) < 60_000 and reply.headers["retry-after"]
        assert reply.headers["x-should-retry"] == "true"
    assert code_of(refused[0]) == "QUOTA_EXCEEDED" and refused[0].json()["error"]["retriable"] is True
    assert task(boss.api).status_code == 202  # others go on
    time.sleep(int(refused[0].headers["retry-after-ms"]) / 1000)  # the time it was told, not a guess
    assert task(api).status_code == 202


# clause: O-25
def test_what_was_used_before_a_restart_is_waited_for_after_it(guarded, as_key):
    boss = guarded()
    key = made(boss, "n", tokens_per_minute=60)  # 1 a second
    api = as_key(boss, key["key"])
    job = task(api, max_tokens=600).json()["job_id"]  # nine minutes' debt
    follow(api, job)
    wait_until(lambda: api.get(f"/v2/tasks/{job}").json()["status"] == "completed", "it ends")
    boss.signal(signal.SIGTERM)
    assert boss.wait_exit() == 0
    again = as_key(guarded(workers=0, root_of=boss), key["key"])
    refused = task(again)
    assert refused.status_code == 429 and code_of(refused) == "QUOTA_EXCEEDED", refused.text
    assert 300_000 < int(refused.headers["retry-after-ms"]) < 600_000


# clause: O-26
def test_a_revoked_key_is_refused_at_once_and_for_good(guarded, fleet, as_key):
    boss = guarded(step_us=5_000)
    revoked, kept = made(boss, "revoked"), made(boss, "kept")
    api = as_key(boss, revoked["key"])
    stream = in_background(api.post, "/v1/completions",
                           {"model": "fake", "prompt": "x", "max_tokens": 200})
    wait_until(lambda: [row for row in boss.api.get("/v2/tasks").json()["jobs"]
                        if row["status"] == "running"], "it runs")
    reply = boss.api.http.delete(f"/v2/keys/{revoked['key_id']}")
    begun = time.monotonic()
    refused = as_key(boss, revoked["key"]).get("/v1/models")
    assert refused.status_code == 401 and time.monotonic() - begun < 1
    assert "was revoked at" in refused.text
    assert reply.json()["status"] == "revoked" and "key" not in reply.json()
    assert len(stream.result(REPLY_S).json()["choices"][0]["text"]) == 200  # it may finish
    assert boss.api.http.delete("/v2/keys/nobody").status_code == 404
    boss.signal(signal.SIGKILL)
    boss.wait_exit()
    # Without the token: the stored keys alone keep it shut.
    again = fleet(workers=0, root_of=boss)
    assert as_key(again, revoked["key"]).get("/v1/models").status_code == 401
    assert as_key(again, kept["key"]).get("/v1/models").status_code == 200
    assert as_key(again, None).get("/v1/models").status_code == 401


# clause: O-26
def test_a_rotated_key_has_another_secret_and_an_expired_one_none(guarded, as_key):
    boss = guarded(workers=0)
    old = made(boss, "ci", tenant="acme")
    new = boss.api.post(f"/v2/keys/{old['key_id']}/rotate").json()
    assert new["key_id"] == old["key_id"] and new["tenant"] == "acme" and new["key"] != old["key"]
    assert as_key(boss, old["key"]).get("/v1/models").status_code == 401
    assert as_key(boss, new["key"]).get("/v1/models").status_code == 200
    short = as_key(boss, made(boss, "short", expires_in_s=1)["key"])
    assert short.get("/v1/models").status_code == 200
    wait_until(lambda: short.get("/v1/models").status_code == 401, "it expires")
    assert "expired at" in short.get("/v1/models").text


# clause: O-20
def test_the_first_key_turns_them_on(fleet, as_key):
    boss = fleet(workers=0)
    assert as_key(boss, "whatever").get("/v1/models").status_code == 200
    refused = boss.api.post("/v2/keys", {"name": "n", "role": "client"})
    assert refused.status_code == 409 and "admin" in refused.text
    root = made(boss, "root", role="admin")
    assert as_key(boss, None).get("/v1/models").status_code == 401
    assert as_key(boss, "whatever").get("/v1/models").status_code == 401
    admin = as_key(boss, root["key"])
    assert admin.get("/v2/keys").status_code == 200
    last = admin.http.delete(f"/v2/keys/{root['key_id']}")
    assert last.status_code == 409 and "last admin key" in last.text
    assert admin.get("/v2/keys").status_code == 200


# clause: O-27
def test_a_worker_speaks_for_itself_only(guarded, fleet, as_key):
    boss = guarded(workers=0)
    keys = [made(boss, f"gpu-{n}", role="worker") for n in range(2)]
    fleet.add(boss, LLORCH_API_TOKEN=keys[0]["key"])
    (worker,) = boss.wait_workers(1).api.get("/v2/workers").json()["workers"]
    other = as_key(boss, keys[1]["key"])
    id_ = worker["worker_id"]
    beat = {"slots_busy": 0, "queue_depth": 0, "jobs": []}
    for reply in (other.http.delete(f"/v2/workers/{id_}"), other.post(f"/workers/{id_}/heartbeat", beat)):
        assert reply.status_code == 403 and "another key" in reply.text, reply.text
    hijack = {"worker_id": id_, "host": "127.0.0.1", "port": 1, "pool_host": "h", "model": "fake",
              "backend": "cpu", "slots_total": 1, "context_tokens": 512, "tokenizer_hash": "t",
              "memory_bytes": 1, "capabilities": ["execute"], "version": "1", "instance_id": "i"}
    assert other.post("/workers/register", hijack).status_code == 403
    at_its_place = hijack | {"worker_id": "new", "host": worker["host"], "port": worker["port"]}
    assert other.post("/workers/register", at_its_place).status_code == 403
    assert boss.api.get(f"/v2/workers/{id_}").json()["port"] == worker["port"]
    boss.workers[0].signal(signal.SIGTERM)  # which deregisters itself
    assert boss.workers[0].wait_exit() == 0
    wait_until(lambda: boss.api.get("/v2/workers").json()["workers"] == [], "the worker leaves")
    assert other.post("/workers/register", hijack | {"worker_id": "mine"}).status_code == 200
    boss.signal(signal.SIGTERM)
    boss.wait_exit()
    again = fleet(workers=0, root_of=boss)
    assert as_key(again, keys[0]["key"]).http.delete("/v2/workers/mine").status_code == 403
    assert as_key(again, keys[1]["key"]).http.delete("/v2/workers/mine").status_code == 200


# clause: O-28
def test_pages_and_names_are_those_that_were_allowed(fleet, run):
    page, evil = {"Origin": "https://app.example"}, {"Origin": "https://evil.example"}
    boss = fleet(flags=("--cors-origins", "https://app.example", "--allowed-hosts", "llm.example"))
    question = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    asked = boss.api.http.options("/v1/chat/completions", headers=page | question)
    assert asked.status_code == 204 and asked.headers["access-control-allow-origin"] == page["Origin"]
    assert asked.headers["access-control-allow-headers"] == "authorization"
    assert boss.api.http.options("/v1/models", headers=evil | question).status_code == 405
    body = {"model": "fake", "prompt": "x", "max_tokens": 2}
    for fields in (body, body | {"stream": True}):
        reply = boss.api.post("/v1/completions", fields, headers=page)
        assert reply.status_code == 200 and reply.headers["access-control-allow-origin"] == page["Origin"]
    refused = boss.api.post("/v1/completions", body, headers=evil)
    assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
    for host, status in (("llm.example", 200), ("evil.example", 403), ("localhost:80", 200)):
        assert boss.api.get("/v1/models", headers={"Host": host}).status_code == status
    wrong = run("orchestratord", "--cors-origins", "*", "--allowed-hosts", "http://x")
    assert wrong.returncode == 2 and "LLORCH_API_TOKEN" in wrong.stderr and "--allowed-hosts" in wrong.stderr


# clause: O-28
def test_with_keys_any_page_may_be_allowed_and_needs_one(guarded):
    boss = guarded(workers=0, flags=("--cors-origins", "*"))
    page = {"Origin": "https://any.example"}
    asked = boss.api.http.options("/v1/models", headers=page | {"Access-Control-Request-Method": "GET"})
    assert asked.status_code == 204
    assert boss.api.get("/v1/models", headers=page).status_code == 200
    refused = boss.api.get("/v1/models", headers=page | {"Authorization": "Bearer x"})
    assert refused.status_code == 401  # which the page may read
    assert refused.headers["access-control-allow-origin"] == page["Origin"]


# clause: O-29
def test_llorch_keys_adds_lists_rotates_and_revokes(guarded, run, as_key):
    boss = guarded(workers=0)

    def keys(*words, token=TOKEN):
        return run("llorch", "keys", *words, LLORCH_ORCHESTRATOR_URL=boss.url, LLORCH_API_TOKEN=token)
    added = keys("add", "ci", "--tenant", "acme", "--models", "a,b", "--tokens-per-minute", "60000",
                 "--highest-priority", "batch", "--expires", "30d")
    assert added.returncode == 0, added.stderr
    secret = added.stdout.removesuffix("\n")
    assert as_key(boss, secret).get("/v1/models").status_code == 200
    assert "shown this once" in added.stderr and secret not in added.stderr
    (row,) = json.loads(keys("list", "--json").stdout)["keys"]
    assert (row["models"], row["tenant"], row["default_priority"]) == (["a", "b"], "acme", "batch")
    table = keys("list").stdout
    assert row["key_id"] in table and "60000" in table and "a,b" in table and "until 20" in table
    rotated = keys("rotate", row["key_id"])
    assert as_key(boss, secret).get("/v1/models").status_code == 401
    assert as_key(boss, rotated.stdout.strip()).get("/v1/models").status_code == 200
    done = keys("revoke", row["key_id"])
    assert done.returncode == 0 and done.stdout == f"Revoked {row['key_id']} (ci)\n"
    assert "revoked" in keys("list").stdout
    unknown = keys("revoke", "nobody")
    assert unknown.returncode == 3 and "next: llorch keys list" in unknown.stderr
    assert keys("rotate", row["key_id"]).returncode == 5
    assert keys("add", "x", "--expires", "1w").returncode == 2
    denied = keys("list", token=rotated.stdout.strip())
    assert denied.returncode == 4 and "LLORCH_API_TOKEN" in denied.stderr
