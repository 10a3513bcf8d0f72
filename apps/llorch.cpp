// `llorch`: sends jobs and prints their answers.
#include <csignal>

#include "console/json_output.h"
#include "console/report.h"
#include "remote/arguments.h"
#include "remote/infer_job.h"

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
  return exit_with_output(infer(std::get<InferOptions>(command)));
}
