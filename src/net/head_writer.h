// Heads of requests and replies, from values to bytes. Pure.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "net/http_types.h"

namespace llorch::net {

// Whether every field can be written as it is (is_header_name(), is_header_value()).
bool writable(const Headers& headers);

void append_field(std::string& head, std::string_view name, std::string_view value);
void append_fields(std::string& head, const Headers& headers);
// "HTTP/1.1 200 OK\r\n"
void append_status_line(std::string& head, unsigned status);

// "Sun, 06 Nov 1994 08:49:37 GMT". Source: RFC 9110 §5.6.7.
std::string http_date(std::chrono::sys_seconds time);

}  // namespace llorch::net
