// Requests and replies of HTTP as plain values. Threads: plain values.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llorch::net {

// Whether two header names are the same: ASCII letters without regard to case.
bool same_name(std::string_view left, std::string_view right);

// Header fields in the order they were given; few enough that a search is a walk.
class Headers {
 public:
  struct Field {
    std::string name;
    std::string value;
  };

  Headers() = default;
  Headers(std::initializer_list<Field> fields) : fields_(fields) {}

  // The first field of that name; the view lives as long as the field does.
  std::optional<std::string_view> find(std::string_view name) const;
  // Appends, whatever is there already.
  void add(std::string name, std::string value);
  // Replaces every field of that name by this one.
  void set(std::string name, std::string value);

  std::size_t size() const { return fields_.size(); }
  bool empty() const { return fields_.empty(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<Field> fields_;
};

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
