#include "worker/job_encoder.h"

#include <utility>

namespace llorch {
namespace {

void append_started(const StreamNames& names, const Started& event, WallTime at, std::string& out) {
  StartedEvent started;
  started.job_id = names.job_id;
  started.model = names.model;
  started.seed = event.seed;
  started.started_at = rfc3339(at);
  started.prompt_tokens = event.prompt_tokens;
  started.cached_tokens = event.cached_tokens;
  append_started_event(out, started);
}

class ExecuteEncoder final : public JobEncoder {
 public:
  ExecuteEncoder(StreamNames names, std::int64_t resumed)
      : names_(std::move(names)), writer_(resumed) {}

  void started(const Started& event, WallTime at, std::string& out) override {
    append_started(names_, event, at, out);
  }
  void token(const TokenOut& event, std::string& out) override { writer_.token(event, out); }
  void ended(const Ended& event, std::string& out) override { writer_.ended(event, out); }
  void failed(const Error& error, std::string& out) override {
    writer_.failed(error, names_.correlation_id, out);
  }
  void metrics(const MetricsEvent& event, std::string& out) override {
    append_metrics_event(out, event);
  }

 private:
  StreamNames names_;
  JobStreamWriter writer_;
};

class OpenAiEncoder final : public JobEncoder {
 public:
  OpenAiEncoder(StreamNames names, const OpenAiReplyOptions& options)
      : names_(std::move(names)),
        relay_(options.relay),
        streams_(options.relay || options.stream),
        reply_(options) {}

  void started(const Started& event, WallTime at, std::string& out) override {
    if (relay_) append_started(names_, event, at, out);
    reply_.started(event, out);
  }
  void token(const TokenOut& event, std::string& out) override { reply_.token(event, out); }
  void ended(const Ended& event, std::string& out) override { reply_.ended(event, out); }
  void failed(const Error& error, std::string& out) override { reply_.failed(error, out); }
  void metrics(const MetricsEvent& event, std::string& out) override {
    if (relay_) append_metrics_event(out, event);
  }
  bool streams() const override { return streams_; }
  bool takes_metrics() const override { return relay_; }

 private:
  StreamNames names_;
  bool relay_;
  bool streams_;
  OpenAiReply reply_;
};

}  // namespace

std::unique_ptr<JobEncoder> make_execute_encoder(StreamNames names, std::int64_t resumed) {
  return std::make_unique<ExecuteEncoder>(std::move(names), resumed);
}

std::unique_ptr<JobEncoder> make_openai_encoder(StreamNames names, OpenAiReplyOptions options) {
  return std::make_unique<OpenAiEncoder>(std::move(names), options);
}

}  // namespace llorch
