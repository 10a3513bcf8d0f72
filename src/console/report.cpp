#include "console/report.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "console/terminal.h"

namespace llorch {
namespace {

// What follows the label may come from a server, a file or a model.
void print_line(std::string_view label, std::string_view text) {
  std::string line(label);
  line += one_line(text);
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

std::string program_name() {
#ifdef __APPLE__
  return ::getprogname();
#else
  return program_invocation_short_name;
#endif
}

}  // namespace

int report(const Error& error) {
  return report(error, exit_code(error.code));
}

int report(const Error& error, ExitCode code) {
  print_line("error: ", error.message);
  for (const auto& violation : error.violations) {
    print_line("  ", violation.field + ": " + violation.message);
  }
  print_next(error.next.empty() ? program_name() + " --help" : error.next);
  return code;
}

void print_warning(std::string_view text) {
  print_line("warning: ", text);
}
void print_next(std::string_view text) {
  print_line("next: ", text);
}

}  // namespace llorch
