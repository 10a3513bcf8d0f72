#include "engine/step_trace.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <iterator>

#include "base/log.h"

namespace llorch {
namespace {

constexpr std::uint64_t trace_bytes_max = 256ull << 20;  // viewers give up not far beyond
constexpr std::size_t buffer_bytes = 1 << 20;            // a write a minute, not one a step
constexpr std::int32_t engine_row = 0;                   // slots follow

// Ids come from outside. Whatever JSON would have to escape is shown as a question mark.
std::string plain(std::string_view id) {
  std::string out(id);
  for (auto& c : out) {
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) c = '?';
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<StepTrace>> StepTrace::open(const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "wx");
  if (file == nullptr) {
    const bool there = errno == EEXIST;
    return fail(there ? Code::conflict : Code::invalid_request,
                "trace file " + path + ": " + std::strerror(errno),
                there ? "another name, or remove it" : "a folder that can be written");
  }
  return std::unique_ptr<StepTrace>(new StepTrace(file, path));
}

StepTrace::StepTrace(std::FILE* file, std::string path)
    : file_(file), path_(std::move(path)), epoch_(std::chrono::steady_clock::now()) {
  std::setvbuf(file_, nullptr, _IOFBF, buffer_bytes);
  write("[\n");
  write(R"({"name":"process_name","ph":"M","pid":1,"args":{"name":"llorch-candled"}})");
  write(
      ",\n"
      R"({"name":"thread_name","ph":"M","pid":1,"tid":0,"args":{"name":"engine"}})");
}

StepTrace::~StepTrace() {
  write("\n]\n");
  if (file_ != nullptr) std::fclose(file_);
}

void StepTrace::write(std::string_view text) {
  if (file_ == nullptr) return;
  bytes_ += text.size();
  const bool written = std::fwrite(text.data(), 1, text.size(), file_) == text.size();
  if (written && bytes_ <= trace_bytes_max) return;
  log_event(LogLevel::warn, "engine", written ? "trace_full" : "trace_failed", {{"path", path_}});
  std::fclose(std::exchange(file_, nullptr));
}

void StepTrace::bar(std::string_view name, std::int32_t row, SteadyTime from, SteadyTime to,
                    std::string_view arguments) {
  const auto us = [&](SteadyTime time) { return elapsed_ms(epoch_, time) * 1000; };
  fmt::memory_buffer line;
  fmt::format_to(std::back_inserter(line),
                 ",\n{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{:.1f},"
                 "\"dur\":{:.1f},\"args\":{{{}}}}}",
                 name, row, us(from), us(to) - us(from), arguments);
  write({line.data(), line.size()});
}

void StepTrace::step(const StepTimes& times, const StepShape& shape, std::uint64_t tokens_drawn) {
  if (file_ == nullptr) return;
  const auto what = fmt::format(
      "\"decode_rows\":{},\"decode_cells\":{},\"prompts\":{},\"prefill_tokens\":{},"
      "\"prefill_cells\":{:.0f},\"drafted\":{},\"drawn\":{}",
      shape.decode_rows, shape.decode_cells, shape.prefill.prompts, shape.prefill.tokens,
      shape.prefill.narrow_cells + shape.prefill.wide_cells, shape.drafted, tokens_drawn);
  bar("step", engine_row, times.begun, times.sampled, what);
  bar("plan", engine_row, times.begun, times.planned, "");
  bar("decode", engine_row, times.planned, times.decoded, "");
  bar("sample", engine_row, times.decoded, times.sampled, "");
}

void StepTrace::job(const JobSpan& span) {
  if (file_ == nullptr) return;
  const auto what = fmt::format(
      "\"job\":\"{}\",\"queued_ms\":{:.1f},\"prompt_tokens\":{},\"cached_tokens\":{},"
      "\"tokens_out\":{}",
      plain(span.id), elapsed_ms(span.submitted, span.seated), span.prompt_tokens,
      span.cached_tokens, span.tokens_out);
  const bool answered = span.first_token != SteadyTime{};
  bar("prefill", span.slot + 1, span.seated, answered ? span.first_token : span.ended, what);
  if (answered) bar("answer", span.slot + 1, span.first_token, span.ended, what);
}

}  // namespace llorch
