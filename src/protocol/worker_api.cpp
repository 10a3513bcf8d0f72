#include "protocol/worker_api.h"

#include <array>
#include <limits>
#include <utility>

#include "protocol/field_reader.h"
#include "protocol/json_text.h"

namespace llorch {

namespace json = boost::json;

namespace {

constexpr std::uint64_t int64_max = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t int32_max = std::numeric_limits<std::int32_t>::max();
constexpr TextRange a_name{.bytes_min = 1, .bytes_max = 256, .control_characters = false};
constexpr TextRange a_label{.bytes_min = 0, .bytes_max = 1024, .control_characters = false};
constexpr std::array<std::string_view, 3> statuses = {"healthy", "unhealthy", "draining"};
constexpr std::array<std::string_view, 3> states = {"loading", "idle", "busy"};

std::string required(FieldReader& fields, std::string_view name) {
  if (!fields.has(name)) fields.add(name, "required", "is required");
  return fields.text(name, a_name).value_or("");
}

std::string optional(FieldReader& fields, std::string_view name) {
  return fields.text(name, a_label).value_or("");
}

std::int64_t count(FieldReader& fields, std::string_view name) {
  return static_cast<std::int64_t>(fields.integer(name, 0, int64_max).value_or(0));
}

std::int32_t small_count(FieldReader& fields, std::string_view name) {
  return static_cast<std::int32_t>(fields.integer(name, 0, int32_max).value_or(0));
}

double rate(FieldReader& fields, std::string_view name) {
  return fields.number(name, {.min = 0, .max = std::numeric_limits<double>::max()}).value_or(0);
}

Registration read_registration(FieldReader& fields, Violations&) {
  constexpr std::size_t capabilities_max = 64;
  Registration read;
  read.worker_id = required(fields, "worker_id");
  read.host = required(fields, "host");
  if (!fields.has("port")) fields.add("port", "required", "is required");
  read.port = static_cast<std::uint16_t>(fields.integer("port", 1, 65535).value_or(0));
  read.pool_host = optional(fields, "pool_host");
  read.model = required(fields, "model");
  read.backend = required(fields, "backend");
  const auto gpu = fields.integer("gpu_id", 0, int32_max);
  read.gpu_id = gpu ? static_cast<std::int32_t>(*gpu) : -1;
  read.slots_total =
      static_cast<std::int32_t>(fields.integer("slots_total", 1, int32_max).value_or(1));
  read.context_tokens = count(fields, "context_tokens");
  read.tokenizer_hash = optional(fields, "tokenizer_hash");
  read.memory_bytes = count(fields, "memory_bytes");
  if (const auto* const list = fields.array("capabilities", capabilities_max)) {
    for (const auto& entry : *list) {
      if (entry.is_string()) read.capabilities.push_back(std_string(entry.get_string()));
    }
  }
  read.version = optional(fields, "version");
  read.instance_id = optional(fields, "instance_id");
  return read;
}

std::vector<PrefixHash> read_hashes(FieldReader& cache, std::string_view name) {
  std::vector<PrefixHash> hashes;
  const auto* const list = cache.array(name, limits::heartbeat_cache_entries_max);
  if (list == nullptr) return hashes;
  for (const auto& entry : *list) {
    const auto hash =
        entry.is_string() ? prefix_hash_from_hex(std_string(entry.get_string())) : std::nullopt;
    if (!hash) {
      cache.add(name, "16 hexadecimal digits", "must be strings of 16 hexadecimal digits");
      break;
    }
    hashes.push_back(*hash);
  }
  return hashes;
}

std::vector<Heartbeat::Job> read_jobs(FieldReader& fields, Violations& violations) {
  constexpr std::size_t jobs_max = 65'536;
  std::vector<Heartbeat::Job> jobs;
  const auto* const list = fields.array("jobs", jobs_max);
  if (list == nullptr) return jobs;
  for (const auto& entry : *list) {
    const std::string path = fields.path("jobs") + "[" + std::to_string(jobs.size()) + "]";
    if (!entry.is_object()) {
      violations.add(path, "object", path + " must be an object");
      break;
    }
    FieldReader row(entry.get_object(), violations, path + ".");
    jobs.push_back({.job_id = required(row, "job_id"),
                    .prompt_done = count(row, "prompt_done"),
                    .tokens_out = count(row, "tokens_out")});
  }
  return jobs;
}

Heartbeat read_heartbeat(FieldReader& fields, Violations& violations) {
  Heartbeat read;
  read.slots_busy = small_count(fields, "slots_busy");
  read.queue_depth = count(fields, "queue_depth");
  read.jobs = read_jobs(fields, violations);
  read.prefill_tokens_per_second = rate(fields, "prefill_tokens_per_second");
  read.decode_tokens_per_second = rate(fields, "decode_tokens_per_second");
  read.memory_free_bytes = count(fields, "memory_free_bytes");
  if (const auto* const cache = fields.object("cache")) {
    FieldReader inner(*cache, violations, "cache.");
    read.cache_version = inner.seed("version", false).value_or(0);
    read.cache_added = read_hashes(inner, "added");
    read.cache_removed = read_hashes(inner, "removed");
  }
  return read;
}

template <class Names>
std::size_t read_word(FieldReader& fields, std::string_view name, const Names& names) {
  const auto word = fields.text(name, a_name).value_or("");
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == word) return i;
  }
  fields.add(name, "a known word", "is not one of the known words");
  return 0;
}

Health read_health(FieldReader& fields, Violations&) {
  return {.status = static_cast<Health::Status>(read_word(fields, "status", statuses)),
          .state = static_cast<Health::State>(read_word(fields, "state", states)),
          .worker_id = optional(fields, "worker_id"),
          .model = optional(fields, "model"),
          .backend = optional(fields, "backend"),
          .slots_total = small_count(fields, "slots_total"),
          .slots_busy = small_count(fields, "slots_busy"),
          .queue_depth = count(fields, "queue_depth"),
          .memory_bytes = count(fields, "memory_bytes"),
          .context_tokens = count(fields, "context_tokens"),
          .uptime_seconds = count(fields, "uptime_seconds")};
}

void append_hashes(std::string& out, const std::vector<PrefixHash>& hashes) {
  append_json_list(out, hashes, [&](PrefixHash hash) { append_json_string(out, to_hex(hash)); });
}

}  // namespace

std::string encode(const Registration& registration) {
  std::string out;
  JsonObjectWriter row(out);
  row.string("worker_id", registration.worker_id)
      .string("host", registration.host)
      .integer("port", registration.port)
      .string("pool_host", registration.pool_host)
      .string("model", registration.model)
      .string("backend", registration.backend);
  if (registration.gpu_id < 0) {
    row.raw("gpu_id", "null");
  } else {
    row.integer("gpu_id", registration.gpu_id);
  }
  row.integer("slots_total", registration.slots_total)
      .integer("context_tokens", registration.context_tokens)
      .string("tokenizer_hash", registration.tokenizer_hash)
      .integer("memory_bytes", registration.memory_bytes);
  append_json_list(row.key("capabilities"), registration.capabilities,
                   [&](const std::string& word) { append_json_string(out, word); });
  row.string("version", registration.version).string("instance_id", registration.instance_id).end();
  return out;
}

Result<Registration> decode_registration(std::string_view body) {
  return decode_object(body, read_registration);
}

bool is_wildcard(std::string_view host) {
  return host == "0.0.0.0" || host == "::" || host == "[::]" || host == "0";
}

std::string encode(const Heartbeat& heartbeat) {
  std::string out;
  JsonObjectWriter row(out);
  row.integer("slots_busy", heartbeat.slots_busy).integer("queue_depth", heartbeat.queue_depth);
  append_json_list(row.key("jobs"), heartbeat.jobs, [&](const Heartbeat::Job& job) {
    JsonObjectWriter(out)
        .string("job_id", job.job_id)
        .integer("prompt_done", job.prompt_done)
        .integer("tokens_out", job.tokens_out)
        .end();
  });
  row.number("prefill_tokens_per_second", heartbeat.prefill_tokens_per_second)
      .number("decode_tokens_per_second", heartbeat.decode_tokens_per_second)
      .integer("memory_free_bytes", heartbeat.memory_free_bytes);
  JsonObjectWriter cache(row.key("cache"));
  cache.unsigned_integer("version", heartbeat.cache_version);
  append_hashes(cache.key("added"), heartbeat.cache_added);
  append_hashes(cache.key("removed"), heartbeat.cache_removed);
  cache.end();
  row.end();
  return out;
}

Result<Heartbeat> decode_heartbeat(std::string_view body) {
  return decode_object(body, read_heartbeat);
}

Result<bool> decode_heartbeat_resync(std::string_view body) {
  if (body.empty()) return false;
  return decode_object(body, [](FieldReader& fields, Violations&) {
    return fields.boolean("resync").value_or(false);
  });
}

std::string encode_heartbeat_reply(bool resync) {
  return resync ? R"({"resync":true})" : "{}";
}

Result<JobId> decode_cancel(std::string_view body) {
  return decode_object(body, [](FieldReader& fields, Violations&) {
    JobId id{required(fields, "job_id")};
    fields.refuse_others();
    return id;
  });
}

std::string encode_cancel(const JobId& id) {
  std::string out;
  JsonObjectWriter(out).string("job_id", id.value).end();
  return out;
}

std::string encode_cancelled(const JobId& id) {
  std::string out;
  JsonObjectWriter(out).string("status", "cancelled").string("job_id", id.value).end();
  return out;
}

std::string encode(const Health& health) {
  std::string out;
  JsonObjectWriter(out)
      .string("status", statuses.at(static_cast<std::size_t>(health.status)))
      .string("state", states.at(static_cast<std::size_t>(health.state)))
      .string("worker_id", health.worker_id)
      .string("model", health.model)
      .string("backend", health.backend)
      .integer("slots_total", health.slots_total)
      .integer("slots_busy", health.slots_busy)
      .integer("queue_depth", health.queue_depth)
      .integer("memory_bytes", health.memory_bytes)
      .integer("context_tokens", health.context_tokens)
      .integer("uptime_seconds", health.uptime_seconds)
      .end();
  return out;
}

Result<Health> decode_health(std::string_view body) {
  return decode_object(body, read_health);
}

std::string encode(const Readiness& readiness) {
  std::string out;
  JsonObjectWriter(out)
      .boolean("ready", readiness.ready)
      .string("state", readiness.state)
      .number("progress", readiness.progress)
      .end();
  return out;
}

Result<Readiness> decode_readiness(std::string_view body) {
  return decode_object(body, [](FieldReader& fields, Violations&) {
    return Readiness{.ready = fields.boolean("ready").value_or(false),
                     .state = optional(fields, "state"),
                     .progress = fields.number("progress", {.min = 0, .max = 1}).value_or(0)};
  });
}

}  // namespace llorch
