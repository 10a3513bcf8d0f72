#include "protocol/task_request.h"

#include "base/limits.h"
#include "protocol/generation_fields.h"

namespace llorch {

Result<TaskRequest> decode_task(std::string_view body) {
  return decode_object(body, [](FieldReader& fields, Violations& violations) {
    constexpr TextRange name{.bytes_min = 1, .bytes_max = 256, .control_characters = false};
    TaskRequest task;
    if (!fields.has("model")) fields.add("model", "required", "is required");
    task.model = fields.text("model", name).value_or("");
    task.priority_given = fields.has("priority");
    const auto priority = fields.text("priority", name).value_or("interactive");
    task.batch = priority == "batch";
    if (!task.batch && priority != "interactive") {
      fields.add("priority", "interactive or batch", "must be interactive or batch");
    }
    task.session_id = fields.text("session_id", name).value_or("");
    task.tenant = fields.text("tenant", name).value_or("");
    if (const auto given = fields.integer("deadline_ms", 1, limits::job_timeout_ms_max)) {
      task.deadline_ms = static_cast<std::int64_t>(*given);
    }
    read_generation(fields, violations, task.job);
    fields.refuse_others();
    return task;
  });
}

}  // namespace llorch
