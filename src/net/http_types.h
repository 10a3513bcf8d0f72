// Requests and replies of HTTP as plain values. Threads: plain values.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llorch::net {

// Whether two header names are the same: ASCII letters without regard to case.
bool same_name(std::string_view left, std::string_view right);

// Header fields in the order they were given; few enough that a search is a walk. All of them lie
// in one text: a message has a dozen, and each would take memory of its own.
class Headers {
 public:
  struct Field {
    std::string_view name;
    std::string_view value;
  };
  class Iterator;

  Headers() = default;
  Headers(std::initializer_list<Field> fields);

  // The first field of that name. Views of fields live until the headers change.
  std::optional<std::string_view> find(std::string_view name) const;
  // Appends, whatever is there already.
  void add(std::string_view name, std::string_view value);
  // Replaces every field of that name by this one.
  void set(std::string_view name, std::string_view value);

  std::size_t size() const { return places_.size(); }
  bool empty() const { return places_.empty(); }
  std::size_t bytes() const { return text_.size(); }
  Iterator begin() const;
  Iterator end() const;

 private:
  // Where name and value end; the name begins where the field before ends.
  struct Place {
    std::size_t name_end = 0;
    std::size_t value_end = 0;
  };
  Field field(std::size_t index) const;

  std::string text_;
  std::vector<Place> places_;
};

class Headers::Iterator {
 public:
  using value_type = Field;
  using difference_type = std::ptrdiff_t;

  Iterator() = default;
  Iterator(const Headers& headers, std::size_t index) : headers_(&headers), index_(index) {}
  Field operator*() const { return headers_->field(index_); }
  Iterator& operator++() {
    ++index_;
    return *this;
  }
  Iterator operator++(int) { return {*headers_, index_++}; }
  bool operator==(const Iterator& other) const { return index_ == other.index_; }

 private:
  const Headers* headers_ = nullptr;
  std::size_t index_ = 0;
};

inline Headers::Iterator Headers::begin() const {
  return {*this, 0};
}
inline Headers::Iterator Headers::end() const {
  return {*this, places_.size()};
}

// g++ 12 destroys a temporary aggregate in a co_await expression twice: give a reply a name first.
struct HttpRequest {
  HttpRequest() = default;  // so that this is no aggregate
  std::string method = "GET";
  std::string target = "/";  // as sent: path and query
  std::string path = "/";    // up to the first '?', not percent-decoded
  std::string query;         // after the first '?'
  Headers headers;
  std::string body;
};

struct HttpResponse {
  unsigned status = 200;
  Headers headers;
  std::string body;
};

// "a%2Fb" as "a/b"; what is no escape stays as it is. Source: RFC 3986 §2.1.
std::string percent_decoded(std::string_view text);

// "Not Found" for 404; empty for a status without a name here.
std::string_view reason_phrase(unsigned status);

// Whether a field can be written without breaking the head it stands in. Source: RFC 9110 §5.
bool is_header_name(std::string_view name);
bool is_header_value(std::string_view value);

}  // namespace llorch::net
