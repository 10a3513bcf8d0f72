// Replies of orchestratord as text for people. What they say goes through one_line(): no text of
// theirs steers a terminal. Ids are never cut: the next command needs them. Pure: time comes in.
// Threads: any.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

#include "base/clock.h"

namespace llorch {

// Of GET /v2/tasks; tables fit 80 columns where ids have the usual length.
std::string jobs_table(const boost::json::object& reply, WallTime now);
// Of GET /v2/tasks/{id}.
std::string job_text(const boost::json::object& job);
// Of GET /v2/workers.
std::string workers_table(const boost::json::object& reply);
// Of GET /v2/usage.
std::string usage_table(const boost::json::object& reply);
// Of GET /v2/policy: the facts, an empty line, the script. Not safe for a terminal: a script has
// lines.
std::string policy_text(const boost::json::object& policy);
// Of POST /v2/policy/replay: what would change, by worker, and some of the jobs.
std::string replay_text(const boost::json::object& reply, const std::string& script);
// "schedule_job, should_admit"; "none".
std::string hooks_text(const boost::json::object& reply);
// Of GET /v2/explain/{id}: each decision's candidates with their costs, and where the time went.
std::string explain_text(const boost::json::object& reply);

}  // namespace llorch
