#include "store/rows.h"

#include <array>

namespace llorch {
namespace {

template <class Enum>
struct Names;
template <>
struct Names<StoredWorker::Status> {
  static constexpr std::array<std::string_view, 3> list = {"healthy", "unhealthy", "dead"};
};
template <>
struct Names<StoredJob::Status> {
  static constexpr std::array<std::string_view, 6> list = {"queued",    "dispatched", "running",
                                                           "completed", "failed",     "cancelled"};
};
template <>
struct Names<StoredJob::Route> {
  static constexpr std::array<std::string_view, 4> list = {"v2", "chat", "completions",
                                                           "embeddings"};
};
template <>
struct Names<StoredKey::Role> {
  static constexpr std::array<std::string_view, 3> list = {"admin", "worker", "client"};
};

template <class Enum>
std::string_view name_of(Enum value) {
  return Names<Enum>::list.at(static_cast<std::size_t>(value));
}

}  // namespace

std::string_view wire_name(StoredWorker::Status status) {
  return name_of(status);
}
std::string_view wire_name(StoredJob::Status status) {
  return name_of(status);
}
std::string_view wire_name(StoredJob::Route route) {
  return name_of(route);
}
std::string_view wire_name(StoredKey::Role role) {
  return name_of(role);
}

template <class Enum>
std::optional<Enum> from_wire_name(std::string_view name) {
  const auto& names = Names<Enum>::list;
  for (std::size_t index = 0; index < names.size(); ++index) {
    if (names[index] == name) return static_cast<Enum>(index);
  }
  return std::nullopt;
}

template std::optional<StoredWorker::Status> from_wire_name(std::string_view name);
template std::optional<StoredJob::Status> from_wire_name(std::string_view name);
template std::optional<StoredJob::Route> from_wire_name(std::string_view name);
template std::optional<StoredKey::Role> from_wire_name(std::string_view name);

}  // namespace llorch
