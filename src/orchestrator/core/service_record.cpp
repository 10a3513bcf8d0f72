#include "orchestrator/core/service_record.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/limits.h"

namespace llorch {
namespace {

constexpr double first_guess_tokens = 256;
constexpr double newest_weight = 0.1;
constexpr std::size_t ends_kept = 32;

std::string key_of(const std::string& tenant, const std::string& model) {
  return tenant + '\0' + model;
}

}  // namespace

void ServiceRecord::ended(const JobSpec& job, std::int64_t tokens_out, Millis now) {
  ends_.push_back(now);
  if (ends_.size() > ends_kept) ends_.pop_front();
  auto whole = job;
  whole.tokens_out = 0;
  const auto expected = expected_out(whole);
  const auto off = std::abs(static_cast<double>(tokens_out) - expected) / expected;
  error_ += newest_weight * (std::min(off, 1.0) - error_);
  auto key = key_of(job.tenant, job.model);
  auto found = means_.find(key);
  const auto tokens = static_cast<double>(tokens_out);
  if (found == means_.end()) {
    if (means_.size() == limits::estimates_max) return;
    found = means_.emplace(std::move(key), Mean{.tokens = tokens}).first;
  }
  auto& mean = found->second;
  mean.tokens += newest_weight * (tokens - mean.tokens);
  if (job.max_tokens == 0) return;
  const auto share = std::min(tokens / static_cast<double>(job.max_tokens), 1.0);
  mean.share += newest_weight * (share - mean.share);
}

double ServiceRecord::expected_out(const JobSpec& job) const {
  const auto found = means_.find(key_of(job.tenant, job.model));
  const bool known = found != means_.end();
  double expected = known ? found->second.tokens : first_guess_tokens;
  if (job.max_tokens > 0) {
    expected = static_cast<double>(job.max_tokens) * (known ? found->second.share : 1.0);
  }
  return std::max(expected - static_cast<double>(job.tokens_out), 1.0);
}

bool ServiceRecord::keeps_to_estimates() const {
  constexpr double tolerated = 0.2;
  return error_ <= tolerated;
}

void ServiceRecord::busy_again(Millis now) {
  if (!idle_since_) return;
  const auto gap = now - *idle_since_;
  for (auto& end : ends_) end += gap;
  idle_since_.reset();
}

std::optional<double> ServiceRecord::ms_per_end(Millis now) const {
  if (ends_.size() < 2) return std::nullopt;
  now = std::min(now, idle_since_.value_or(now));
  // The open interval counts when it is already longer than those before: then it has slowed down.
  const auto closed =
      static_cast<double>(ends_.back() - ends_.front()) / static_cast<double>(ends_.size() - 1);
  const auto with_open =
      static_cast<double>(now - ends_.front()) / static_cast<double>(ends_.size());
  return std::max({closed, with_open, 1.0});
}

}  // namespace llorch
