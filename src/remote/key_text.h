// What `llorch keys` prints for people. Pure. Threads: any.
#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace llorch {

// Of GET /v2/keys; fits 80 columns.
std::string keys_table(const boost::json::object& reply);
// For stderr, beside a secret: "Key ci (k3v9x2m7q1ab), client of acme: …".
std::string key_note(const boost::json::object& key);

}  // namespace llorch
