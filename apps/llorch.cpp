// `llorch`: sends jobs and prints their answers; drives the pools of other hosts. Wiring only.
#include <csignal>

#include "console/json_output.h"
#include "console/report.h"
#include "remote/arguments.h"
#include "remote/infer_job.h"
#include "remote/run_command.h"

int main(int argc, char** argv) {
  using namespace llorch;
  std::signal(SIGPIPE, SIG_IGN);  // A reader that leaves is seen at the write, and tidied up after.
  const auto parsed = parse_remote_command(argc, argv);
  if (!parsed) return report(parsed.error());
  if (const auto* ended = std::get_if<int>(&*parsed)) return *ended;
  const auto& command = std::get<RemoteCommand>(*parsed);
  if (const auto* text = std::get_if<PrintText>(&command)) {
    return exit_with_output(print_text(text->text) ? exit_ok : exit_failure);
  }
  if (const auto* options = std::get_if<InferOptions>(&command)) {
    return exit_with_output(infer(*options));
  }
  const auto code = run_remote_command(command);
  return code ? exit_with_output(*code) : report(code.error());
}
