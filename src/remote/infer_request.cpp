#include "remote/infer_request.h"

#include <boost/json/serialize.hpp>
#include <utility>

#include "protocol/execute_request.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

JobRequest job_of(const InferOptions& options) {
  JobRequest job;
  job.max_tokens = options.max_tokens;
  job.sampling.temperature = options.temperature;
  job.sampling.seed = options.seed;
  job.stop = options.stop;
  if (options.raw) {
    job.prompt = options.prompt;
    return job;
  }
  ChatPrompt chat;
  if (!options.system.empty()) {
    chat.messages.push_back({.role = "system", .content = options.system});
  }
  chat.messages.push_back({.role = "user", .content = options.prompt});
  job.prompt = std::move(chat);
  return job;
}

}  // namespace

std::string worker_job_body(const InferOptions& options, const std::string& job_id) {
  auto job = job_of(options);
  job.id = JobId{job_id};
  return encode_execute(job);
}

std::string task_body(const InferOptions& options) {
  auto body = parse_json_object(worker_job_body(options, "-")).value();
  body.erase("job_id");
  body["model"] = options.model;
  if (options.batch) body["priority"] = "batch";
  if (!options.tenant.empty()) body["tenant"] = options.tenant;
  if (options.deadline_ms) body["deadline_ms"] = *options.deadline_ms;
  return boost::json::serialize(body);
}

Result<std::string> task_id(std::string_view accepted) {
  const auto body = parse_json_object(accepted);
  const auto* id = body ? body->if_contains("job_id") : nullptr;
  if (id == nullptr || !id->is_string() || id->get_string().empty()) {
    return fail(Code::internal, "the reply to POST /v2/tasks names no job_id");
  }
  return std::string(id->get_string());
}

Result<std::string> only_model(std::string_view models) {
  const auto body = parse_json_object(models);
  const auto* data = body ? body->if_contains("data") : nullptr;
  if (data == nullptr || !data->is_array()) {
    return fail(Code::internal, "the reply to GET /v1/models is not a list of models");
  }
  std::vector<std::string> names;
  for (const auto& entry : data->get_array()) {
    const auto* id = entry.is_object() ? entry.get_object().if_contains("id") : nullptr;
    if (id != nullptr && id->is_string()) names.emplace_back(id->get_string());
  }
  if (names.empty()) return fail(Code::no_worker, "no model is served yet");
  if (names.size() == 1) return names.front();
  std::string list = names.front();
  for (std::size_t i = 1; i < names.size(); ++i) list += ", " + names[i];
  return fail(Code::invalid_request, "--model: several are served: " + list,
              "llorch infer --model " + names.front() + " --prompt …");
}

}  // namespace llorch
