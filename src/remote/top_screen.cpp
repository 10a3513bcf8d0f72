#include "remote/top_screen.h"

#include <algorithm>
#include <fmt/format.h>

#include "console/terminal.h"
#include "remote/fleet_text.h"
#include "remote/reply_fields.h"

namespace llorch {
namespace {

constexpr std::size_t columns_max = 80;
constexpr std::string_view home = "\x1b[H";
constexpr std::string_view clear_to_line_end = "\x1b[K";
constexpr std::string_view clear_below = "\x1b[J";

}  // namespace

std::string top_text(std::string_view orchestrator, const TopFigures& figures, WallTime now) {
  const auto& workers = list_field(figures.workers, "workers");
  const auto healthy = std::ranges::count_if(workers, [](const auto& worker) {
    return text_field(as_object(worker), "status") == "healthy";
  });
  const auto& health = figures.health;
  const auto up =
      human_duration(std::max<std::int64_t>(0, integer_field(health, "uptime_seconds")));
  auto text =
      shorten(
          one_line(fmt::format("{}, {}, up {}", orchestrator, text_field(health, "status"), up)),
          columns_max) +
      "\n";
  text += fmt::format("Workers: {}, {} healthy   Queue: {}   On a worker: {}\n\n", workers.size(),
                      healthy, integer_field(health, "queue_depth"),
                      list_field(figures.jobs, "jobs").size());
  text += workers_table(figures.workers) + "\n";
  text += jobs_table(figures.jobs, now);
  return text;
}

std::string redraw(std::string_view text, std::size_t rows, std::size_t columns) {
  std::string drawn(home);
  for (std::size_t row = 1; row < rows && !text.empty(); ++row) {
    const auto end = std::min(text.find('\n'), text.size());
    drawn += shorten(text.substr(0, end), columns - 1);
    drawn += clear_to_line_end;
    drawn += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  drawn += clear_below;
  return drawn;
}

}  // namespace llorch
